"""Truncated backbones: the first stages of a timm model, with the tensors that they have in the whole model."""

from __future__ import annotations

from math import log2
from typing import Any

import torch
from torch import Tensor

from mlkd.models.backbone import tokens
from mlkd.models.network import evaluating

# What timm raises for a model that it cannot cut.
_FAULTS = (RuntimeError, AssertionError, ValueError, TypeError, IndexError, AttributeError)


def truncate(backbone: Any, name: str, image_px: int, stages: int) -> None:
    """Drop all that follows the first `stages` stages of a backbone, in place; tensors keep their names.

    Stage k ends with the last of timm's stage maps that has 1/2^k of the image's side.  That the result is this map of
    the whole backbone is verified on one image.

    Raises:
        ValueError: The backbone has no such stage, or timm cannot cut it.
    """
    ends = _ends(backbone)
    if len(ends) < 2 or not hasattr(backbone, "prune_intermediate_layers"):
        raise _cannot_cut(name, "its maps are of one size, or unknown to timm")
    if stages not in ends:
        listed = ", ".join(map(str, sorted(ends)))
        raise ValueError(
            f"model.stages: expected one of {listed}, the stages of {name}, got {stages}; correct it, or leave it out "
            "for the whole backbone"
        )
    image = torch.linspace(-1, 1, 3 * image_px**2).view(1, 3, image_px, image_px)
    try:
        with torch.no_grad(), evaluating(backbone):
            expected = _stage_map(backbone, image, ends[stages])
            backbone.prune_intermediate_layers([ends[stages]], prune_norm=True)
            result = tokens(backbone(image), backbone)
    except _FAULTS as cause:
        raise _cannot_cut(name, f"{cause} (at {image_px} px)") from cause
    if result.shape != expected.shape or not (result.is_meta or torch.allclose(result, expected, atol=1e-6)):
        raise _cannot_cut(name, f"the result differs from the map of stage {stages}")
    backbone.feature_info = backbone.feature_info[: ends[stages] + 1]


def _ends(backbone: Any) -> dict[int, int]:
    """The index of timm's last stage map of each stage."""
    strides = [stage["reduction"] for stage in getattr(backbone, "feature_info", ())]
    return {int(log2(stride)): index for index, stride in enumerate(strides) if stride > 1 and log2(stride) % 1 == 0}


def _stage_map(backbone: Any, image: Tensor, index: int) -> Tensor:
    """A stage map as a list of positions (B, N, C)."""
    options = {"indices": [index], "stop_early": True, "intermediates_only": True, "output_fmt": "NCHW"}
    maps: list[Tensor] = backbone.forward_intermediates(image, **options)
    return maps[0].flatten(2).transpose(1, 2)


def _cannot_cut(name: str, reason: str) -> ValueError:
    return ValueError(
        f"model.stages: expected a backbone that timm can cut behind a stage, got {name}: {reason}; leave stages out, "
        "choose another backbone, or update timm"
    )
