"""What is trained as one module: the tagger, and the adapters that its losses ask for."""

from __future__ import annotations

import dataclasses

from jaxtyping import UInt8
from torch import Tensor, nn

from mlkd.losses.reviewkd import ReviewKD
from mlkd.models.network import TaggerNet
from mlkd.models.outputs import Outputs
from mlkd.training.config import Training


class Learner(nn.Module):
    """Images to the Outputs that losses see: stage maps only when asked for, and already adapted to the teacher's.

    Adapters belong to the optimiser's parameters and to no export; they leave out the maps of frozen stages, in which
    nothing can learn.  One module, so that a wrapper for several processes sees every parameter.
    """

    def __init__(self, tagger: TaggerNet, training: Training, teacher: TaggerNet | None) -> None:
        super().__init__()
        self.tagger = tagger
        self.features = "features" in training.needs
        self.adapters = nn.ModuleDict()
        for loss in training.losses:
            if isinstance(loss, ReviewKD) and loss.weight:
                assert teacher is not None, "train has checked"
                self.adapters[loss.kind] = loss.adapter(tagger.stage_shapes(learning=True), teacher.stage_shapes())

    def forward(self, images: UInt8[Tensor, "B H W 3"]) -> Outputs:
        outputs: Outputs = self.tagger(images, features=self.features)
        for adapter in self.adapters.values():
            outputs = dataclasses.replace(outputs, features=adapter(outputs.features))
        return outputs
