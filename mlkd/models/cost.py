"""The cost of a tagger: parameters, and multiply-adds for one image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from timm.utils.model import reparameterize_model
from torch.utils.flop_counter import FlopCounterMode

from mlkd.models.config import Model
from mlkd.models.network import TaggerNet


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Cost of the exported model: branches are fused, and operations that are the same for all images do not count.

    Multiply-adds are those of convolutions and matrix products, attention included.
    """

    backbone_parameters: int
    head_parameters: int
    backbone_multiply_adds: int
    head_multiply_adds: int

    @property
    def parameters(self) -> int:
        """Parameters of backbone and head."""
        return self.backbone_parameters + self.head_parameters

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of backbone and head."""
        return self.backbone_multiply_adds + self.head_multiply_adds


def cost(model: Model, labels: int) -> Cost:
    """Count on a model without weights: nothing is computed, and no weights are read."""
    with torch.device("meta"):
        tagger = reparameterize_model(model.build(labels, pretrained=False).eval())
        of_one, of_two = (_multiply_adds(tagger, batch) for batch in (1, 2))
    parts = (tagger.backbone, tagger.head)
    parameters = [sum(parameter.numel() for parameter in part.parameters()) for part in parts]
    return Cost(
        backbone_parameters=parameters[0],
        head_parameters=parameters[1],
        backbone_multiply_adds=of_two[0] - of_one[0],
        head_multiply_adds=of_two[1] - of_one[1],
    )


def _multiply_adds(tagger: TaggerNet, batch: int) -> tuple[int, int]:
    """Multiply-adds of the backbone and of the head for `batch` images."""
    images = torch.zeros(batch, tagger.image_px, tagger.image_px, 3, dtype=torch.uint8)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        tagger(images)
    by_module = counter.get_flop_counts()
    backbone, head = (sum(by_module[f"{type(tagger).__name__}.{part}"].values()) // 2 for part in ("backbone", "head"))
    assert 2 * (backbone + head) == counter.get_total_flops(), "nothing else in a tagger multiplies"
    return backbone, head
