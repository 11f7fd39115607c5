"""Check on real images, by batch-norm statistics, that pretrained weights are used as they were trained."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from timm.layers import Conv2dSame
from torch import Tensor, nn

from mlkd.models.config import Model
from mlkd.models.network import TaggerNet
from mlkd.models.weights import Normalisation, RandomWeights, TrainedWeights

log = logging.getLogger(__name__)

IMAGES = 32
# Measured with EfficientNet-Lite on photographs of 64 to 224 pixels: 0.02 to 0.14 nats for the right model, 1.14 to 1.8
# times that with the wrong padding and epsilon, 1.1 to 4 times with the wrong mean and std.
BETTER = 0.92  # an alternative has to reduce the divergence to this share, and
NEAR = 0.3  # to this many nats, the most that photographs have; other images allow no conclusion
NORMALISATIONS: Mapping[str, Normalisation] = {
    "mean 0.5 and std 0.5": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "ImageNet's mean and std": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "values in 0..1": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "values in 0..255": ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
}


def evenly_spread(images: int) -> NDArray[np.int64]:
    """Return the rows of at most IMAGES images, evenly spread over all."""
    return np.linspace(0, images - 1, min(IMAGES, images)).astype(np.int64)


def check_weights(tagger: TaggerNet, config: Model, images: NDArray[np.uint8]) -> None:
    """Refuse a backbone that differs from the model in which its pretrained weights were trained.

    Each batch norm stores the mean and variance of its inputs in training.  On `images` (N, H, W, 3) the inputs of the
    loaded model have to match them as well as with another padding and epsilon or another mean and std.  The channel
    order cannot be seen.  A model without batch norms, and images unlike photographs, cannot be checked; both are
    logged.  Of a truncated or narrowed backbone the whole one is checked.

    Raises:
        ValueError: An alternative fits clearly better; the message names it.
    """
    if isinstance(config.weights, (RandomWeights, TrainedWeights)):
        return
    where = f"weights of {config.backbone} ({config.weights.kind})"
    if not any(isinstance(module, nn.BatchNorm2d) for module in tagger.backbone.modules()):
        log.info("%s: the backbone has no batch norms, so the weights cannot be checked on images", where)
        return
    whole = replace(config, stages=None, expansion=None)
    if config != whole:  # the first layers alone fit another padding as well, and fewer channels none
        with torch.random.fork_rng(devices=[]):
            tagger = whole.build(1).to(tagger.mean.device)
    values = torch.from_numpy(np.array(images[evenly_spread(len(images))])).float().permute(0, 3, 1, 2) / 255
    values = values.to(tagger.mean.device)
    loaded = (tuple((tagger.mean / 255).tolist()), tuple((tagger.std / 255).tolist()))
    distance = _distance(tagger.backbone, values, loaded)
    others = {
        name: _distance(tagger.backbone, values, normalisation)
        for name, normalisation in NORMALISATIONS.items()
        if normalisation != loaded
    }
    other_padding, name = _other_padding(tagger.backbone)
    others[name] = _distance(other_padding, values, loaded)
    best = min(others, key=others.__getitem__)
    if others[best] < min(BETTER * distance, NEAR):
        raise ValueError(
            f"{where}: expected batch-norm inputs on {len(values)} images as in training, got a mean divergence of "
            f"{distance:.3f} nats where {best} gives {others[best]:.3f}; the weights were trained with another "
            "epsilon, padding, mean/std or channel order: name the backbone that they were trained in (timm's tf_ "
            "models have TensorFlow's padding and epsilon), or correct mean and std"
        )
    if distance > NEAR:
        log.warning(
            "%s: not checked: batch-norm inputs on these images are %.2f nats from those in training, photographs come "
            "within %.1f; look at the images and at the channel order",
            where,
            distance,
            NEAR,
        )


def _distance(backbone: nn.Module, values: Float[Tensor, "N 3 H W"], normalisation: Normalisation) -> float:
    """Divergence of each batch norm's inputs from its running statistics, median over channels, mean over layers."""
    divergences: list[float] = []

    def measure(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        divergences.append(_divergence(module, inputs[0]))

    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [module.register_forward_pre_hook(measure) for module in norms]
    mean, std = (torch.tensor(each, device=values.device)[:, None, None] for each in normalisation)
    was_training = backbone.training
    try:
        with torch.no_grad():
            backbone.eval()((values - mean) / std)
    finally:
        backbone.train(was_training)
        for hook in hooks:
            hook.remove()
    return float(np.mean(divergences))


def _divergence(norm: nn.Module, inputs: Float[Tensor, "N C H W"]) -> float:
    """KL divergence of Gaussians for each channel, of the inputs from the running statistics; the median."""
    mean: Tensor = norm.running_mean  # type: ignore[assignment]
    running: Tensor = norm.running_var + 1e-3  # type: ignore[assignment, operator]
    ratio = (inputs.var((0, 2, 3)) + 1e-3) / running
    shift = (inputs.mean((0, 2, 3)) - mean).square() / running
    return float((0.5 * (ratio + shift - 1 - ratio.log())).median())


def _other_padding(backbone: nn.Module) -> tuple[nn.Module, str]:
    """A copy with TensorFlow's padding and epsilon instead of PyTorch's, or the reverse, and the name of the change."""
    other = copy.deepcopy(backbone)
    same = any(type(module) is Conv2dSame for module in backbone.modules())
    for module in other.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-5 if same else 1e-3
        elif isinstance(module, nn.Conv2d) and module.stride[0] > 1 and module.kernel_size[0] > 1:
            module.__class__ = nn.Conv2d if same else Conv2dSame
            module.padding = tuple(size // 2 for size in module.kernel_size) if same else (0, 0)
    return other, "PyTorch's padding and epsilon 1e-5" if same else "TensorFlow's padding and epsilon 1e-3"
