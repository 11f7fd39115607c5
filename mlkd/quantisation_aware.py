"""Quantisation-aware distillation: a trained tagger that rounds as its int8 graph does, to be trained on."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import UInt8
from timm.utils.model import reparameterize_model
from torch import Tensor, fx, nn

from mlkd import fake_quant, quantised_graph
from mlkd.fake_quant import Place
from mlkd.models import checkpoint
from mlkd.models.network import Model, TaggerNet
from mlkd.models.outputs import Outputs

RANGES = "ranges"


@dataclass(frozen=True, kw_only=True)
class QuantisationAware:
    """What `train` goes on with: the net in the folder `start`, rounding at the places of its int8 graph."""

    model: Model
    start: Path
    places: tuple[Place, ...]

    @property
    def image_px(self) -> int:
        """The size of its pictures."""
        return self.model.image_px

    def build(self, labels: int) -> QuantisedTagger:
        """The module.  Raises ValueError when the net has other labels, or lacks one of the places."""
        found = len(checkpoint.load_labels(self.start))
        if found != labels:
            raise ValueError(
                f"quantisation-aware: expected {labels} labels as in the data, got {found} in {self.start}"
            )
        return QuantisedTagger(checkpoint.load_model(self.start), self.places)


class QuantisedTagger(TaggerNet):
    """A tagger, its branches fused as an export fuses them, with rounded activations and weights.

    It always computes as in eval mode, without dropout and with the statistics that its batch norms have; these are
    folded into convolutions before their weights are rounded.  `ranges` are the logarithms of the activations' ranges.
    """

    def __init__(self, tagger: TaggerNet, places: Sequence[Place]) -> None:
        nn.Module.__init__(self)
        fused: TaggerNet = reparameterize_model(copy.deepcopy(tagger).eval())
        self.image_px, self.backbone_name, self.memory_format = fused.image_px, fused.backbone_name, fused.memory_format
        self.register_buffer("mean", fused.mean)
        self.register_buffer("std", fused.std)
        self.backbone, self.head = fused.backbone, fused.head
        self.ranges = nn.Module()
        for rounded in (one for place in places for one in place.inputs if one is not None):
            start = nn.Parameter(torch.tensor(math.log(rounded.high)))
            self.ranges.register_parameter(fake_quant.parameter_name(rounded.tensor), start)
        wanted = (False, True) if hasattr(fused.backbone, "forward_intermediates") else (False,)
        self.computations = {features: self._computation(fused, places, features) for features in wanted}

    def _computation(
        self, fused: TaggerNet, places: Sequence[Place], features: bool
    ) -> Callable[..., tuple[Tensor, ...]]:
        """The code of the graph; it reads parameters and buffers from the module that it is given."""
        graph = quantised_graph.trace(fused, features=features)
        quantised_graph.put_in(graph, places)
        code: Callable[..., tuple[Tensor, ...]] = type(fx.GraphModule(self, graph)).forward
        return code

    def forward(self, images: UInt8[Tensor, "B H W 3"], *, features: bool = False) -> Outputs:
        """As Tagger's."""
        logits, embeddings, pooled, *maps = self.computations[features](self, images)
        return Outputs(logits, embeddings, pooled, tuple(maps) if features else None)


def float_tagger(folder: Path) -> TaggerNet:
    """The net that such a training run has made, without rounding: branches fused, in eval mode."""
    tensors, facts = checkpoint.read(folder / checkpoint.BEST)
    tagger: TaggerNet = reparameterize_model(
        checkpoint.model_of(facts).build(len(facts["labels"]), pretrained=False).eval()
    )
    tagger.load_state_dict({name: value for name, value in tensors.items() if not name.startswith(RANGES)})
    return tagger


def learned_ranges(folder: Path) -> dict[str, tuple[float, float]]:
    """What such a run made of the ranges, by tensor of the float graph.  Raises ValueError for other runs."""
    found = checkpoint.part(checkpoint.read(folder / checkpoint.BEST)[0], f"{RANGES}.")
    if not found:
        raise ValueError(f"learned ranges: expected a quantisation-aware run in {folder}, got another one; train it")
    highest = {fake_quant.tensor_name(name): math.exp(value.item()) for name, value in found.items()}
    return {tensor: (-high, high) for tensor, high in highest.items()}
