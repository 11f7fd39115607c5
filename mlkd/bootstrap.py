"""Bootstrap intervals of mAP and of differences of mAP: scores are ranked once, a replicate only weighs them anew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlkd.metrics import Bools, Floats, Scores, checked, masks, mean, mean_average_precision


@dataclass(frozen=True)
class Interval:
    """A value with its bootstrap percentile interval."""

    value: float
    low: float
    high: float


def bootstrap_map(
    scores: ArrayLike,
    targets: ArrayLike,
    groups: ArrayLike,
    *,
    replicates: int = 1000,
    seed: int = 0,
    known: ArrayLike | None = None,
) -> Interval:
    """95 % percentile interval of mAP, resampling whole `groups` (N,) with replacement; nan if no label has positives.

    A replicate's mAP is over the labels that have a positive in it.
    """
    drawn = resampled_map(scores, targets, groups, replicates=replicates, seed=seed, known=known)
    return interval(mean_average_precision(scores, targets, known), drawn)


def bootstrap_difference(
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    targets: ArrayLike,
    groups: ArrayLike,
    *,
    replicates: int = 1000,
    seed: int = 0,
    known: ArrayLike | None = None,
) -> Interval:
    """95 % percentile interval of mAP(a) - mAP(b) on the same pictures, resampling whole `groups` (N,), paired."""
    values = [mean_average_precision(scores, targets, known) for scores in (scores_a, scores_b)]
    drawn = [
        resampled_map(scores, targets, groups, replicates=replicates, seed=seed, known=known)
        for scores in (scores_a, scores_b)
    ]
    return interval(values[0] - values[1], drawn[0] - drawn[1])


def resampled_map(
    scores: ArrayLike,
    targets: ArrayLike,
    groups: ArrayLike,
    *,
    replicates: int = 1000,
    seed: int = 0,
    known: ArrayLike | None = None,
) -> Floats:
    """mAP of every bootstrap replicate (R,); equal groups and seed draw equal pictures, so differences are paired."""
    score, target, mask = checked(scores, targets, known)
    columns = zip(np.ascontiguousarray(score.T), np.ascontiguousarray(target.T), masks(mask, score), strict=True)
    labels = [_Label.of(*column) for column in columns]
    draws = _draws(groups, replicates, seed)
    return np.array([mean(np.array([label.average_precision(times) for label in labels])) for times in draws])


@dataclass(frozen=True)
class _Label:
    """One label's n known pictures, P of them positive; `above` says all about the scores that AP asks."""

    rows: NDArray[np.intp] | slice  # (n,)
    above: NDArray[np.intp]  # (n,) how many positives score higher
    positives: NDArray[np.intp]  # (P,) places among the n
    above_positives: NDArray[np.intp]  # (P,)

    @classmethod
    def of(cls, score: Scores, target: Bools, known: Bools | None) -> _Label:
        rows = slice(None) if known is None else np.flatnonzero(known)
        score, positives = score[rows], np.flatnonzero(target[rows])
        above = len(positives) - np.searchsorted(np.sort(score[positives]), score, side="right")
        return cls(rows, above, positives, above[positives])

    def average_precision(self, times: Floats) -> float:
        """AP with each picture (N,) there so many times; nan if no positive is left.

        A picture scores at least as high as a positive if no more positives are above it.
        """
        mine = times[self.rows][self.positives]
        total = mine.sum()
        if not total:
            return float("nan")
        hits = np.cumsum(np.bincount(self.above_positives, mine))[self.above_positives]
        seen = np.cumsum(np.bincount(self.above, times[self.rows]))[self.above_positives]
        return float(np.dot(mine, hits / np.maximum(seen, 1)) / total)  # seen is 0 only where mine is


def _draws(groups: ArrayLike, replicates: int, seed: int) -> Iterator[Floats]:
    """For each replicate how many times each picture's group was drawn (N,)."""
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    count = int(member.max()) + 1
    rng = np.random.default_rng(seed)
    for _ in range(replicates):
        drawn = np.bincount(rng.integers(0, count, count), minlength=count)
        yield drawn.astype(np.float64)[member]


def interval(value: float, drawn: Floats) -> Interval:
    """The middle 95 % of replicates (R,), nan where all are."""
    if np.isnan(drawn).all():
        return Interval(value, float("nan"), float("nan"))
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Interval(value, float(low), float(high))
