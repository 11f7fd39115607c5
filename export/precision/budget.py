"""What int8 may cost, and which layers go back to float when it costs more."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from mlkd.progress import Progress, silent

Score = Callable[[Collection[str]], float]  # mAP of the int8 graph with these layers in float

_LIMITS = {
    "keep": (0, 1), "float_layers": (0, 1), "pictures": (1, 10**9), "epochs": (0, 10_000), "learning_rate": (1e-8, 1),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much of the float graph's mAP on *select* int8 has to keep, and what may be done for it."""

    keep: float = 0.99  # of the float mAP; MLPerf's rule, its stricter one is 0.999
    float_layers: float = 0.25  # largest share of the layers that may go back to float
    pictures: int = 256  # of select, on which layers are compared with each other
    epochs: int = 3  # of quantisation-aware distillation, where that does not suffice; 0: none
    learning_rate: float = 1e-3
    allow: bool = field(default=False, metadata={"identity": False})  # ship what is over budget all the same

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"export.budget.{name}: expected {low}..{high}, got {getattr(self, name)}")


@dataclass(frozen=True)
class FloatLayer:
    """A layer that went back to float."""

    layer: str
    gain: float | None  # mAP that it alone gives back; None: it is float because one that reads it is


@dataclass(frozen=True)
class Restored:
    """An int8 graph with some layers in float."""

    layers: tuple[FloatLayer, ...]  # those that hurt most first
    score: float  # mAP on all of select


def rank(layers: Sequence[str], part: Score, progress: Progress = silent) -> list[FloatLayer]:
    """What each layer alone gives back on some pictures (`part`), the most first; of two equal ones the first."""
    nothing, found = part(()), []
    for done, layer in enumerate(layers):
        progress("layers", done, len(layers))
        found.append(FloatLayer(layer, part((layer,)) - nothing))
    progress("layers", len(layers), len(layers))
    return sorted(found, key=lambda entry: -(entry.gain or 0.0))


def fewest(ranked: Sequence[FloatLayer], whole: Score, wanted: float) -> Restored:
    """Put back to float as few of the layers, in their order, as `whole` asks for to give at least `wanted`.

    Where all do not suffice, all: the caller sees it from the score.
    """
    scores: dict[int, float] = {}

    def enough(count: int) -> bool:
        scores[count] = whole([entry.layer for entry in ranked[:count]])
        return scores[count] >= wanted

    few, many = -1, len(ranked)
    if enough(many):
        while many - few > 1:  # mAP need not grow with every layer; what is returned was scored itself
            middle = (few + many) // 2
            few, many = (few, middle) if enough(middle) else (middle, many)
    return Restored(tuple(ranked[:many]), scores[many])
