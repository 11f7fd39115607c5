"""Parameter groups and the learning-rate schedule."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

from mlkd.models.network import TaggerNet
from mlkd.training.config import Training


def optimiser(tagger: TaggerNet, adapters: nn.Module, training: Training) -> Optimizer:
    """AdamW (decoupled decay) or Adam (decay through the gradient, as published); no decay on biases and norms.

    The adapters of losses have the learning rate of the head.
    """
    groups = []
    for module, scale in ((tagger.backbone, training.backbone_scale), (tagger.head, 1.0), (adapters, 1.0)):
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        for decay, is_matrix in ((training.weight_decay, True), (0.0, False)):
            parameters = [parameter for parameter in trained if (parameter.ndim > 1) is is_matrix]
            if parameters:
                peak = training.learning_rate * scale
                groups.append({"params": parameters, "weight_decay": decay, "lr": peak, "peak": peak})
    adam = (AdamW if training.optimiser == "adamw" else Adam)(groups, fused=True)
    adam.register_step_pre_hook(_align_gradients)
    return adam


def _align_gradients(adam: Optimizer, *_: object) -> None:
    """Give gradients the strides of their parameters: the fused step ignores others on a CPU and refuses them on CUDA.

    torch 2.11 to 2.15; a convolution in channels-last memory may have a contiguous gradient.
    """
    for group in adam.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None and parameter.grad.stride() != parameter.stride():
                parameter.grad = torch.empty_like(parameter).copy_(parameter.grad)


def share_of_peak(schedule: str, step: int, steps: int, warmup: float) -> float:
    """Share of the peak learning rate at `step`: a rise over the first `warmup` of all steps, then a cosine to 0.

    one_cycle rises along a cosine from 1/25, cosine linearly from 0.
    """
    rising = round(steps * warmup)
    if step < rising:
        risen = (step + 1) / (rising + 1)
        return risen if schedule == "cosine" else 0.04 + 0.96 * (1 - math.cos(math.pi * risen)) / 2
    return (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising))) / 2


def set_learning_rate(optimiser: Optimizer, training: Training, step: int, steps: int) -> None:
    """Set the rate of each parameter group for `step` of all `steps` of the schedule."""
    share = share_of_peak(training.schedule, step, steps, training.warmup)
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * share


def optimiser_tensors(adam: Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as flat tensors `index.name`."""
    state = adam.state_dict()["state"]
    return {f"{index}.{name}": value for index, values in state.items() for name, value in values.items()}


def restore_optimiser(adam: Optimizer, tensors: dict[str, Tensor]) -> None:
    """Restore the state that `optimiser_tensors` returned, with the strides of the parameters."""
    parameters = [parameter for group in adam.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        like = parameters[int(index)]
        strided = torch.empty_like(like, device="cpu").copy_(value) if value.shape == like.shape else value
        state.setdefault(int(index), {})[name] = strided
    adam.load_state_dict({"state": state, "param_groups": adam.state_dict()["param_groups"]})
