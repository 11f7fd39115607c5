"""Backbones: timm nets without classifier and pooling, and what they give as a list of positions."""

from __future__ import annotations

from typing import Any

import timm
import torch
from jaxtyping import Float
from torch import Tensor, nn

# EfficientViT of MIT: its classifier, a convolution in front included, cannot do without pooling.
POOLING = ("efficientvit_b", "efficientvit_l")


def create(name: str, image_px: int, *, pretrained: bool = False) -> nn.Module:
    """A net that gives feature maps or tokens; laid out in memory as it trains fastest on a CPU.

    Raises ValueError for one that cannot do without pooling.
    """
    pools = name.startswith(POOLING)
    options = {"pretrained": pretrained, "num_classes": 0} | ({} if pools else {"global_pool": ""})
    try:
        backbone = _create(name, image_px, options)
    except AssertionError as cause:
        raise ValueError(
            f"model.backbone: expected one that gives positions, got {name}: {cause}; take another"
        ) from cause
    if pools:
        backbone.head = nn.Identity()
    return backbone.to(memory_format=memory_format(name))


def channels(backbone: nn.Module, name: str, image_px: int) -> int:
    """How many the net gives for each position.  Raises ValueError where it cannot take images of this size."""
    was_training = backbone.training
    try:
        with torch.no_grad():
            features = backbone.eval()(torch.zeros(1, 3, image_px, image_px))
    except (RuntimeError, AssertionError) as cause:
        raise ValueError(f"model: expected a size that {name} takes, got {image_px} px: {cause}; change it") from cause
    finally:
        backbone.train(was_training)
    return tokens(features, backbone).shape[2]


def memory_format(name: str) -> torch.memory_format:
    """torch 2.13 and 2.15 crash when training RepVGG and MobileOne in channels_last on a CPU."""
    return torch.contiguous_format if name.startswith(("repvgg", "mobileone")) else torch.channels_last


def tokens(features: Tensor, backbone: nn.Module) -> Float[Tensor, "B N C"]:
    """Any timm feature map as a list of positions; class tokens are dropped."""
    if features.ndim == 3:
        return features[:, int(getattr(backbone, "num_prefix_tokens", 0)) :]
    if getattr(backbone, "output_fmt", "NCHW") == "NHWC":
        return features.flatten(1, 2)
    return features.flatten(2).transpose(1, 2)


def _create(name: str, image_px: int, options: dict[str, Any]) -> nn.Module:
    net: nn.Module
    try:
        net = timm.create_model(name, img_size=image_px, **options)
    except TypeError:  # most nets are not built for one size of image
        net = timm.create_model(name, **options)
    return net
