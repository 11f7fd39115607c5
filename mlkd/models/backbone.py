"""Backbones: timm models without classifier and pooling, and their features as a list of positions."""

from __future__ import annotations

import difflib
from math import isqrt

import timm
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mlkd.models.depthwise import replace_depthwise

# EfficientViT of MIT needs pooling before its classifier, which starts with a convolution.
POOLING = ("efficientvit_b", "efficientvit_l")


class _NoHead(nn.Identity):
    """In place of a removed classifier, with what timm asks of one where it truncates a backbone."""

    num_features = 0

    def reset(self, *_: object, **__: object) -> None:
        """Do nothing: no classifier is wanted."""


def create(name: str, image_px: int, *, pretrained: bool = False) -> nn.Module:
    """A timm model that returns feature maps or tokens, in the memory layout that trains fastest on a CPU.

    Raises ValueError for a model that timm does not have, and for one that always pools.
    """
    check(name)
    pools = name.startswith(POOLING)
    options = {"pretrained": pretrained, "num_classes": 0} | ({} if pools else {"global_pool": ""})
    backbone: nn.Module
    try:
        try:
            backbone = timm.create_model(name, img_size=image_px, **options)
        except TypeError:  # most models are not built for one image size
            backbone = timm.create_model(name, **options)
    except AssertionError as cause:
        raise ValueError(
            f"model.backbone: expected one without global pooling, got {name}: {cause}; choose another"
        ) from cause
    if pools:
        backbone.head = _NoHead()
    replace_depthwise(backbone)
    return backbone.to(memory_format=memory_format(name))


def check(name: str) -> None:
    """Raise ValueError unless timm has the model."""
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"; did you mean {', '.join(close)}?" if close else "; see timm.list_models()"
        raise ValueError(f"model.backbone: expected a timm model, got {name!r}{hint}")


def channels(backbone: nn.Module, name: str, image_px: int) -> int:
    """The number of channels of the features.  Raises ValueError if the model does not accept images of this size."""
    was_training = backbone.training
    try:
        with torch.no_grad():
            features = backbone.eval()(torch.zeros(1, 3, image_px, image_px))
    except (RuntimeError, AssertionError) as cause:
        raise ValueError(
            f"model: expected a size that {name} accepts, got {image_px} px: {cause}; change it"
        ) from cause
    finally:
        backbone.train(was_training)
    return tokens(features, backbone).shape[2]


def memory_format(name: str) -> torch.memory_format:
    """channels_last; without CUDA not for RepVGG and MobileOne, whose training crashes in torch 2.13 and 2.15."""
    crashes = name.startswith(("repvgg", "mobileone")) and not torch.cuda.is_available()
    return torch.contiguous_format if crashes else torch.channels_last


def grid(features: Tensor, backbone: nn.Module) -> tuple[int, int]:
    """Height and width of the positions of `tokens`.  Raises ValueError for a token list that is no square."""
    if features.ndim == 4:
        height, width = features.shape[1:3] if getattr(backbone, "output_fmt", "NCHW") == "NHWC" else features.shape[2:]
        return height, width
    count = tokens(features, backbone).shape[1]
    side = isqrt(count)
    if side * side != count:
        raise ValueError(f"label maps: expected a square of positions, got {count}; choose another backbone")
    return side, side


def tokens(features: Tensor, backbone: nn.Module) -> Float[Tensor, "B N C"]:
    """A timm feature map or token list as a list of positions, without class tokens."""
    if features.ndim == 3:
        return features[:, int(getattr(backbone, "num_prefix_tokens", 0)) :]
    if getattr(backbone, "output_fmt", "NCHW") == "NHWC":
        return features.flatten(1, 2)
    return features.flatten(2).transpose(1, 2)
