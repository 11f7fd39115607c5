"""What a tagger costs: parameters, and multiply-adds for one image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from timm.utils.model import reparameterize_model
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mlkd.models.network import Model, TaggerNet


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of the net as it is exported: branches fused, and nothing counted that is the same for every image.

    Multiply-adds are those of convolutions and matrix products, attention included.
    """

    backbone_parameters: int
    head_parameters: int
    backbone_multiply_adds: int
    head_multiply_adds: int

    @property
    def parameters(self) -> int:
        """Of backbone and head."""
        return self.backbone_parameters + self.head_parameters

    @property
    def multiply_adds(self) -> int:
        """Of backbone and head."""
        return self.backbone_multiply_adds + self.head_multiply_adds


def cost(model: Model, labels: int) -> Cost:
    """Counted on a net without weights, so it neither computes nor reads any."""
    with torch.device("meta"):
        tagger = reparameterize_model(model.build(labels, pretrained=False).eval())
        one, two = (_multiply_adds(tagger, batch) for batch in (1, 2))
    backbone, head = (after - before for before, after in zip(one, two, strict=True))
    return Cost(
        backbone_parameters=_parameters(tagger.backbone),
        head_parameters=_parameters(tagger.head),
        backbone_multiply_adds=backbone,
        head_multiply_adds=head,
    )


def _multiply_adds(tagger: TaggerNet, batch: int) -> tuple[int, int]:
    """Of the backbone and of the head for `batch` images."""
    images = torch.zeros(batch, tagger.image_px, tagger.image_px, 3, dtype=torch.uint8)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        tagger(images)
    by_module = counter.get_flop_counts()
    backbone, head = (sum(by_module[f"{type(tagger).__name__}.{part}"].values()) // 2 for part in ("backbone", "head"))
    assert 2 * (backbone + head) == counter.get_total_flops(), "nothing else in a tagger multiplies"
    return backbone, head


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
