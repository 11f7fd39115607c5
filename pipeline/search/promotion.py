"""Which candidates of a rung go on: the rule, without training and without Optuna."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlkd.core.groups import Groups
from mlkd.core.intervals import Interval, difference_interval, map_interval
from mlkd.core.metrics import mean_average_precision
from pipeline.search.rows import Latency


@dataclass(frozen=True, kw_only=True)
class Result:
    """The scores (N, L) of a candidate for the images of select, and its latency on the slowest device."""

    candidate: str
    latency: Latency
    scores: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The mAP of a candidate with its interval, and the candidates of the rung that beat it."""

    candidate: str
    select_map: Interval
    beaten_by: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The targets (N, L) of select, which images depend on each other, and which labels are known."""

    targets: NDArray[np.uint8]
    groups: Groups
    label_mask: NDArray[np.bool_] | None = None


def rank(results: Sequence[Result], truth: Truth) -> list[Standing]:
    """Return the standings of a rung, the best first.

    A candidate is beaten by another with a significantly higher mAP, and by one that is faster beyond the noise of its
    time and whose mAP does not differ significantly.  Fewer candidates that beat it are better; of equals the one with
    the higher mAP is.
    """
    beaten_by: dict[str, list[str]] = {result.candidate: [] for result in results}
    for first, second in itertools.combinations(results, 2):
        if pair := _order(first, second, truth):
            winner, loser = pair
            beaten_by[loser.candidate].append(winner.candidate)
    standings = [
        Standing(
            candidate=result.candidate,
            select_map=map_interval(result.scores, truth.targets, truth.groups, label_mask=truth.label_mask),
            beaten_by=tuple(beaten_by[result.candidate]),
        )
        for result in sorted(results, key=lambda result: (result.latency.p90_ms, result.candidate))
    ]
    return sorted(standings, key=lambda standing: (len(standing.beaten_by), -standing.select_map.value))


def promoted(standings: Sequence[Standing]) -> list[str]:
    """Return the names of the better half, rounded up, and of the highest mAP where it is not among them.

    Many candidates that do not differ significantly would else leave only the fastest.
    """
    half = [standing.candidate for standing in standings[: (len(standings) + 1) // 2]]
    best = max(standings, key=lambda standing: standing.select_map.value, default=None)
    return half if best is None or best.candidate in half else [*half, best.candidate]


def fastest_as_good(results: Sequence[Result], truth: Truth) -> str:
    """Return the fastest candidate whose mAP is not significantly lower than the highest.

    Of those that are not slower beyond the noise of the times, it is the one with the highest mAP.
    """

    def map_of(result: Result) -> float:
        return mean_average_precision(result.scores, truth.targets, truth.label_mask)

    def is_worse(result: Result) -> bool:
        difference = difference_interval(
            best.scores, result.scores, truth.targets, truth.groups, label_mask=truth.label_mask
        )
        return difference.low > 0

    best = max(results, key=map_of)
    alike = [result for result in results if result is best or not is_worse(result)]
    fastest = min(alike, key=lambda result: (result.latency.p90_ms, result.candidate))
    return max((result for result in alike if not fastest.latency.is_below(result.latency)), key=map_of).candidate


def _order(first: Result, second: Result, truth: Truth) -> tuple[Result, Result] | None:
    """The winner and the loser; None where neither mAP nor latency differs beyond its noise."""
    difference = difference_interval(
        first.scores, second.scores, truth.targets, truth.groups, label_mask=truth.label_mask
    )
    if difference.low > 0 or difference.high < 0:
        return (first, second) if difference.low > 0 else (second, first)
    if first.latency.is_below(second.latency):
        return first, second
    return (second, first) if second.latency.is_below(first.latency) else None
