"""The module that is trained: the tagger, and the adapters of its losses."""

from __future__ import annotations

import dataclasses

from jaxtyping import UInt8
from torch import Tensor, nn

from mlkd.losses.reviewkd import ReviewKD
from mlkd.models.network import TaggerNet
from mlkd.models.outputs import Outputs
from mlkd.training.config import Training


class DistillationModule(nn.Module):
    """Images to the Outputs that losses read: stage maps only where a loss needs them, after its adapter.

    Adapters are trained but never exported; they skip the maps of frozen stages.  Tagger and adapters are one module,
    so that a wrapper for several processes sees every parameter.
    """

    def __init__(self, tagger: TaggerNet, training: Training, teacher: TaggerNet | None) -> None:
        super().__init__()
        self.tagger = tagger
        self.features = "features" in training.needs
        self.adapters = nn.ModuleDict()
        for loss in training.losses:
            if isinstance(loss, ReviewKD) and loss.weight:
                assert teacher is not None, "LossComputer has checked"
                self.adapters[loss.kind] = loss.adapter(tagger.stage_shapes(trainable=True), teacher.stage_shapes())

    def forward(self, images: UInt8[Tensor, "B H W 3"]) -> Outputs:
        outputs: Outputs = self.tagger(images, features=self.features)
        for adapter in self.adapters.values():
            outputs = dataclasses.replace(outputs, features=adapter(outputs.features))
        return outputs
