"""Parameter groups and the learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from timm.models import group_parameters
from torch import Tensor, nn
from torch.optim import AdamW

from mlkd.models import Tagger


def freeze(tagger: Tagger, groups: int) -> None:
    """Stop gradients of the first `groups` stages of the backbone, counted as timm groups them (0 = the stem)."""
    if not groups:
        return
    matcher: Any = tagger.backbone.group_matcher
    by_group = group_parameters(tagger.backbone, matcher(coarse=True))
    frozen = {name for group, names in by_group.items() if group < groups for name in names}
    for name, parameter in tagger.backbone.named_parameters():
        parameter.requires_grad_(name not in frozen)


def optimiser(tagger: Tagger, learning_rate: float, backbone_scale: float, weight_decay: float) -> AdamW:
    """AdamW with decoupled decay (another method than the published coupled one); none on biases and norms."""
    groups = []
    for module, scale in ((tagger.backbone, backbone_scale), (tagger.head, 1.0)):
        for decay, parameters in _by_decay(module, weight_decay):
            if parameters:
                peak = learning_rate * scale
                groups.append({"params": parameters, "weight_decay": decay, "lr": peak, "peak": peak})
    return AdamW(groups)


def _by_decay(module: nn.Module, weight_decay: float) -> Iterator[tuple[float, list[Tensor]]]:
    trained = [p for p in module.parameters() if p.requires_grad]
    yield weight_decay, [p for p in trained if p.ndim > 1]
    yield 0.0, [p for p in trained if p.ndim <= 1]


def one_cycle(step: int, steps: int, warmup: float) -> float:
    """Share of the peak learning rate at `step`: cosine up over the first `warmup` of all steps, cosine down to 0."""
    rising = max(1, round(steps * warmup))
    if step < rising:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * (step + 1) / (rising + 1))) / 2
    return (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising))) / 2


def optimiser_tensors(adam: AdamW) -> dict[str, Tensor]:
    """The optimiser's state as flat tensors `index.name`."""
    state = adam.state_dict()["state"]
    return {f"{index}.{name}": value for index, values in state.items() for name, value in values.items()}


def restore_optimiser(adam: AdamW, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimiser_tensors` gave."""
    whole = adam.state_dict()
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    adam.load_state_dict({"state": state, "param_groups": whole["param_groups"]})
