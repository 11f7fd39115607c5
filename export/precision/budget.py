"""What int8 may cost, and which layers go back to float when it costs more."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mlkd.core.progress import Progress, silent

NOISE = 2.0  # standard errors that a layer's gain has to exceed

_LIMITS = {"keep": (0, 1), "float_layers": (0, 1), "images": (1, 10**9)}


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much of the float graph's mAP on *select* int8 has to keep, and what may be done for it."""

    keep: float = 0.99  # of the float mAP; MLPerf's rule, its stricter one is 0.999
    float_layers: float = 0.25  # largest share of the layers that may go back to float
    images: int = 256  # of select, on whose scores layers are compared with each other
    allow: bool = field(default=False, metadata={"identity": False})  # ship what is over budget all the same

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"export.budget.{name}: expected {low}..{high}, got {getattr(self, name)}")


@dataclass(frozen=True)
class Quality:
    """What an int8 graph keeps of the float graph, in exact arithmetic."""

    select_map: float
    low: float  # of the 95 % interval of its mAP minus the float graph's, paired
    high: float
    drift: float  # mean difference of scores from the float graph's
    drift_kept: float  # share of mAP to be expected from this drift, without labels; a cautious estimate
    decided: bool  # whether the interval lies on one side of the budget
    fits: bool  # by the interval where that decides; where it does not, unless drift is far over the budget


@dataclass(frozen=True)
class FloatLayer:
    """A layer that went back to float."""

    layer: str
    gain: float | None  # drift of scores that it alone takes away; None: it is float because one that reads it is


@dataclass(frozen=True)
class Restored:
    """An int8 graph with some layers in float."""

    layers: tuple[FloatLayer, ...]  # those that hurt most first
    quality: Quality


def rank(
    layers: Sequence[str], drifts: Callable[[Collection[str]], NDArray[np.floating]], progress: Progress = silent
) -> list[FloatLayer]:
    """The layers that alone take away drift of scores, the most first; of two equal ones the first.

    `drifts` gives for the int8 graph with some layers in float the drift of each of some images (K,).  A layer whose
    mean gain over these images is within its noise is left out.
    """
    nothing, found = drifts(()), []
    for done, layer in enumerate(layers):
        progress("layers", done, len(layers))
        gains = nothing - drifts((layer,))
        noise = gains.std(ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else np.inf
        if gains.mean() > NOISE * noise:
            found.append(FloatLayer(layer, float(gains.mean())))
    progress("layers", len(layers), len(layers))
    return sorted(found, key=lambda entry: -(entry.gain or 0.0))


def fewest(ranked: Sequence[FloatLayer], measure: Callable[[Collection[str]], Quality]) -> Restored:
    """Put back to float as few of the layers, in their order, as the graph needs to fit its budget.

    Where all do not suffice, all: the caller sees it from the quality.
    """
    found: dict[int, Quality] = {}

    def fits(count: int) -> bool:
        found[count] = measure([entry.layer for entry in ranked[:count]])
        return found[count].fits

    few, many = -1, len(ranked)
    if fits(many):
        while many - few > 1:  # quality need not grow with every layer; what is returned was measured itself
            middle = (few + many) // 2
            few, many = (few, middle) if fits(middle) else (middle, many)
    return Restored(tuple(ranked[:many]), found[many])
