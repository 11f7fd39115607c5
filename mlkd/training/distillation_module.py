"""The module that is trained: the tagger, and the adapters of its losses."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from jaxtyping import Float16, UInt8
from torch import Tensor, nn

from mlkd.losses.base import MAPS, Shape
from mlkd.losses.pca_maps import PcaMaps
from mlkd.losses.reviewkd import ReviewKD
from mlkd.models.frozen import Cut
from mlkd.models.network import TaggerNet
from mlkd.models.outputs import Outputs
from mlkd.training.config import Training


class DistillationModule(nn.Module):
    """Images to the Outputs that losses read: stage maps only where a loss needs them, after its adapter.

    Adapters are trained but never exported; they skip the maps of frozen stages.  Tagger and adapters are one module,
    so that a wrapper for several processes sees every parameter.  Frozen modules stay in eval mode: their batch norms
    keep the statistics, and nothing is dropped.  With a `cut`, the inputs are its features instead of images.
    """

    def __init__(
        self, tagger: TaggerNet, training: Training, teacher_shapes: Sequence[Shape] = (), cut: Cut | None = None
    ) -> None:
        super().__init__()
        self.tagger = tagger
        self._cut = cut
        self.wanted = {output: output in training.needs for output in MAPS}
        self.adapters = nn.ModuleDict()
        self._adapted: dict[str, str] = {}  # the output that the adapter of a loss changes
        for loss in training.losses:
            if isinstance(loss, ReviewKD | PcaMaps) and loss.weight:
                self.adapters[loss.kind] = loss.adapter(tagger.stage_shapes(trainable=True), teacher_shapes)
                self._adapted[loss.kind] = loss.adapts

    def train(self, mode: bool = True) -> DistillationModule:
        super().train(mode)
        for backbone in (self.tagger.backbone, *([self._cut.tail] if self._cut else [])):
            backbone.train(mode)
            for module in backbone.modules():
                parameters = list(module.parameters())
                if parameters and not any(parameter.requires_grad for parameter in parameters):
                    module.eval()
        return self

    def forward(self, inputs: UInt8[Tensor, "B H W 3"] | Float16[Tensor, "B ..."]) -> Outputs:
        if self._cut:
            outputs = self.tagger.outputs(self._cut.tail, self._cut.inputs(inputs), **self.wanted)
        else:
            outputs = self.tagger(inputs, **self.wanted)
        adapters = {self._adapted[kind]: adapter for kind, adapter in self.adapters.items()}
        adapted = {output: adapter(getattr(outputs, output)) for output, adapter in adapters.items()}
        return dataclasses.replace(outputs, **adapted)
