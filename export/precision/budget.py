"""The accuracy budget of int8, and the choice of layers that stay in float to meet it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.config import Budget as Budget
from mlkd.core.progress import Progress, silent

NOISE = 2.0  # standard errors that a layer's gain has to exceed


@dataclass(frozen=True)
class Quality:
    """Accuracy of an int8 graph compared with the float graph, in exact arithmetic."""

    select_map: float
    low: float  # end of the paired 95 % interval of its mAP minus the float graph's
    high: float
    mean_score_drift: float  # mean absolute difference of scores from the float graph's
    expected_map_ratio: float  # ratio of mAP expected from this drift without labels, a cautious estimate
    is_significant: bool  # whether the interval lies on one side of the budget
    within_budget: bool  # by the interval if that is significant, else unless drift is far over the budget


@dataclass(frozen=True)
class FloatLayer:
    """A layer that stays in float."""

    layer: str
    gain: float | None  # reduction of score drift by this layer alone; None: in float because a reader of it is


@dataclass(frozen=True)
class FloatFallback:
    """An int8 graph with some layers in float."""

    layers: tuple[FloatLayer, ...]  # largest gain first
    quality: Quality


def rank(
    layers: Sequence[str], drifts: Callable[[Collection[str]], NDArray[np.floating]], progress: Progress = silent
) -> list[FloatLayer]:
    """Rank the layers by how much score drift each alone removes, largest first; without gains within the noise.

    `drifts` maps the names of layers in float to the score drift of each image (K,).
    """
    all_int8, ranked = drifts(()), []
    for done, layer in enumerate(layers):
        progress("layers", done, len(layers))
        gains = all_int8 - drifts((layer,))
        noise = gains.std(ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else np.inf
        if gains.mean() > NOISE * noise:
            ranked.append(FloatLayer(layer, float(gains.mean())))
    progress("layers", len(layers), len(layers))
    return sorted(ranked, key=lambda entry: -(entry.gain or 0.0))


def fewest(ranked: Sequence[FloatLayer], measure: Callable[[Collection[str]], Quality]) -> FloatFallback:
    """Find by bisection the smallest number of layers in float, in their order, that meets the budget.

    If all layers do not suffice, all are returned, with a quality over budget.
    """
    qualities: dict[int, Quality] = {}

    def suffices(count: int) -> bool:
        qualities[count] = measure([entry.layer for entry in ranked[:count]])
        return qualities[count].within_budget

    few, many = -1, len(ranked)
    if suffices(many):
        while many - few > 1:  # quality need not grow with every layer, but the result itself was measured
            middle = (few + many) // 2
            few, many = (few, middle) if suffices(middle) else (middle, many)
    return FloatFallback(tuple(ranked[:many]), qualities[many])
