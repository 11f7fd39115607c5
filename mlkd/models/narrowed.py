"""Narrowed backbones: inverted residual blocks with fewer inner channels, those that vary most in the result.

The inner channels of such a block are seen by no other, so each block is cut alone, and its pretrained tensors stay.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int64
from timm.models._efficientnet_blocks import InvertedResidual, SqueezeExcite
from torch import Tensor, nn

from mlkd.models.backbone import memory_format

DIVISOR = 16  # of the number of kept channels, as kernels work on blocks of 16
QUANTILES = 255


def narrow(backbone: nn.Module, name: str, expansion: float) -> None:
    """Keep a share of the inner channels of each inverted residual block, in place.

    A channel counts by what it adds to the variance of the block's output: its standard deviation behind batch norm
    and activation, for inputs that are normal with the batch norm's scale and shift, times the norm of its weights in
    the projection.  How many are kept does not depend on the weights.

    Args:
        name: Of the backbone, for the error.
        expansion: The share that is kept, above 0 and below 1; rounded to a multiple of 16 channels, at least 16.

    Raises:
        ValueError: The backbone has no such block.
    """
    blocks = [module for module in backbone.modules() if _has_inner_channels(module)]
    if not blocks:
        raise ValueError(
            f"model.expansion: expected a backbone with timm's InvertedResidual blocks, as EfficientNet and "
            f"MobileNetV3 have, got {name}, which has none; leave expansion out, or choose another backbone"
        )
    for block in blocks:
        _narrow(block, expansion)
    backbone.to(memory_format=memory_format(name))


def _has_inner_channels(module: nn.Module) -> bool:
    """Whether it is a block of plain convolutions, one of them depthwise; those of CondConv are another kind."""
    if not isinstance(module, InvertedResidual) or not isinstance(module.conv_dw, nn.Conv2d):
        return False
    known = isinstance(module.se, (nn.Identity, SqueezeExcite))
    return known and module.conv_dw.groups == module.conv_dw.out_channels


@torch.no_grad()
def _narrow(block: Any, expansion: float) -> None:
    inner = block.conv_dw.out_channels
    count = max(DIVISOR, round(inner * expansion / DIVISOR) * DIVISOR)
    if count >= inner:
        return
    strength = _deviation(block.bn2) * block.conv_pwl.weight.flatten(1).norm(dim=0)
    kept = strength.topk(count).indices.sort().values
    for module in (block.conv_pw, block.bn1, block.conv_dw, block.bn2):
        _keep(module, kept, 0)
    _keep(block.conv_pwl, kept, 1)
    if isinstance(block.se, SqueezeExcite):
        _keep(block.se.conv_reduce, kept, 1)
        _keep(block.se.conv_expand, kept, 0)


def _keep(module: Any, kept: Int64[Tensor, " K"], dimension: int) -> None:
    """Keep a part of the outputs (dimension 0) or of the inputs (1) of a convolution or batch norm."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name, tensor in tensors.items():
        if tensor.ndim > dimension:
            part = tensor.index_select(dimension, kept)
            setattr(module, name, nn.Parameter(part) if isinstance(tensor, nn.Parameter) else part)
    count = len(kept)
    if isinstance(module, nn.Conv2d):
        is_depthwise = module.groups > 1
        module.out_channels = count if dimension == 0 else module.out_channels
        module.in_channels = count if dimension == 1 or is_depthwise else module.in_channels
        module.groups = count if is_depthwise else 1
    else:
        module.num_features = count


def _deviation(norm: Any) -> Float[Tensor, " C"]:
    """The standard deviation of each channel behind a batch norm and its activation."""
    quantiles = torch.special.ndtri((torch.arange(QUANTILES) + 0.5) / QUANTILES)
    values = norm.weight[:, None] * quantiles + norm.bias[:, None]
    result: Tensor = norm.act(values).std(1)
    return result
