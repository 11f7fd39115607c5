"""Multi-label metrics on scores (N, L) and targets (N, L): AP, mAP, F1, thresholds, bootstrap.  Fractions in 0..1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A value with its bootstrap percentile interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class F1:
    """CF1 = harmonic mean of per-label mean precision and recall; OF1 = F1 over all decisions pooled."""

    cf1: float
    of1: float
    precision: Floats  # (L,), 0 where nothing was predicted
    recall: Floats  # (L,), 0 where a label has no positive


def average_precision(scores: ArrayLike, targets: ArrayLike, known: ArrayLike | None = None) -> Floats:
    """AP per label (L,), nan without positives; equal scores are one threshold (scikit-learn's definition).

    `known` (N, L) leaves out the decisions that are False.  Raises ValueError on unequal shapes or scores that are nan.
    """
    score, target = _checked(scores, targets)
    weight = np.ones(score.shape) if known is None else np.asarray(known, dtype=np.float64)
    return _Ranked.of(score, target).average_precision(weight)


def mean_average_precision(scores: ArrayLike, targets: ArrayLike, known: ArrayLike | None = None) -> float:
    """Mean of the AP over the labels that have a positive; nan if none has."""
    return _mean(average_precision(scores, targets, known))


def f1(scores: ArrayLike, targets: ArrayLike, thresholds: ArrayLike) -> F1:
    """CF1, OF1, precision and recall of the decisions scores >= thresholds (L,)."""
    score, target = _checked(scores, targets)
    chosen = score >= np.asarray(thresholds, dtype=np.float64)
    hits = (chosen & target).sum(0).astype(np.float64)
    precision = _ratio(hits, chosen.sum(0))
    recall = _ratio(hits, target.sum(0))
    pooled = _ratio(hits.sum(), chosen.sum()), _ratio(hits.sum(), target.sum())
    return F1(
        cf1=_harmonic(float(precision.mean()), float(recall.mean())),
        of1=_harmonic(float(pooled[0]), float(pooled[1])),
        precision=precision,
        recall=recall,
    )


def tune_thresholds(scores: ArrayLike, targets: ArrayLike) -> NDArray[np.float32]:
    """Per label the threshold (L,) of the highest F1, half-way to the next score; 0.5 for a label without positives."""
    score, target = _checked(scores, targets)
    best = np.full(score.shape[1], 0.5, dtype=np.float32)
    for label in range(score.shape[1]):
        order = np.argsort(-score[:, label], kind="stable")
        ranked, hits = score[order, label], np.cumsum(target[order, label])
        if hits[-1] == 0:
            continue
        value = 2 * hits / (np.arange(1, len(hits) + 1) + hits[-1])
        value[:-1][ranked[:-1] == ranked[1:]] = -1.0  # a threshold cannot part equal scores
        at = int(np.argmax(value))
        below = ranked[at + 1] if at + 1 < len(ranked) else 0.0
        middle = np.float32((ranked[at] + below) / 2)
        best[label] = middle if below < middle <= ranked[at] else np.float32(ranked[at])
    return best


def bootstrap_map(
    scores: ArrayLike, targets: ArrayLike, groups: ArrayLike, *, replicates: int = 1000, seed: int = 0
) -> Interval:
    """95 % percentile interval of mAP, resampling whole `groups` (N,) with replacement."""
    score, target = _checked(scores, targets)
    ranked = _Ranked.of(score, target)
    drawn = np.array([ranked.map(weight) for weight in _weights(groups, replicates, seed)])
    return _interval(ranked.map(np.ones(len(score))), drawn)


def bootstrap_difference(
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    targets: ArrayLike,
    groups: ArrayLike,
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> Interval:
    """95 % percentile interval of mAP(a) - mAP(b) on the same pictures, resampling whole `groups` (N,), paired."""
    score_a, target = _checked(scores_a, targets)
    score_b, _ = _checked(scores_b, targets)
    a, b = _Ranked.of(score_a, target), _Ranked.of(score_b, target)
    drawn = np.array([a.map(weight) - b.map(weight) for weight in _weights(groups, replicates, seed)])
    one = np.ones(len(target))
    return _interval(a.map(one) - b.map(one), drawn)


@dataclass(frozen=True)
class _Ranked:
    """Sorted once, so that every bootstrap replicate only reweights; labels are rows, which keeps memory contiguous."""

    order: NDArray[np.intp]  # (L, N) best score first
    hit: NDArray[np.bool_]  # (L, N) targets in that order
    last: NDArray[np.bool_]  # (L, N) True where a run of equal scores ends

    @classmethod
    def of(cls, score: Floats, target: NDArray[np.bool_]) -> _Ranked:
        negated = np.ascontiguousarray(-score.T)
        order = np.argsort(negated, axis=1)  # the order among equal scores is of no consequence
        ranked = np.take_along_axis(negated, order, axis=1)
        last = np.ones(ranked.shape, dtype=bool)
        last[:, :-1] = ranked[:, :-1] != ranked[:, 1:]
        return cls(order, np.take_along_axis(np.ascontiguousarray(target.T), order, axis=1), last)

    def average_precision(self, weight: Floats) -> Floats:
        """AP (L,) with picture weights (N,) or decision weights (N, L)."""
        rows = zip(self.order, self.hit, self.last, strict=True)
        shared = weight.ndim == 1
        return np.array([_one_label(weight if shared else weight[:, i], *row) for i, row in enumerate(rows)])

    def map(self, weight: Floats) -> float:
        return _mean(self.average_precision(weight))


def _one_label(weight: Floats, order: NDArray[np.intp], hit: NDArray[np.bool_], last: NDArray[np.bool_]) -> float:
    ranked = weight[order]
    hits = np.cumsum(ranked * hit)[last]
    seen = np.cumsum(ranked)[last]
    if hits[-1] == 0:
        return float("nan")
    precision = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
    return float(np.dot(precision, np.diff(hits, prepend=0.0)) / hits[-1])


def _weights(groups: ArrayLike, replicates: int, seed: int) -> Any:
    """Yield `replicates` picture weights (N,): how often each picture's group was drawn."""
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    count = int(member.max()) + 1
    rng = np.random.default_rng(seed)
    for _ in range(replicates):
        drawn = np.bincount(rng.integers(0, count, count), minlength=count)
        yield drawn[member].astype(np.float64)


def _checked(scores: ArrayLike, targets: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    score, target = np.asarray(scores, dtype=np.float64), np.asarray(targets).astype(bool)
    if score.ndim != 2 or score.shape != target.shape or not len(score):
        raise ValueError(f"scores and targets: expected equal shapes (N, L), got {score.shape} and {target.shape}")
    if np.isnan(score).any():
        rows = np.unique(np.nonzero(np.isnan(score))[0])[:5].tolist()
        raise ValueError(f"scores: expected numbers, got nan in rows {rows}; the model diverged or the input was bad")
    return score, target


def _interval(value: float, drawn: Floats) -> Interval:
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Interval(value, float(low), float(high))


def _mean(values: Floats) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if len(present) else float("nan")


def _ratio(part: Any, whole: Any) -> Any:
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _harmonic(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b else 0.0
