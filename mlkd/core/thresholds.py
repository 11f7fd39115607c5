"""Thresholds (L,), tuned on scores (N, L) in 0..1 and targets (N, L), and their expected precision and recall.

Where `label_mask` (N, L) is False the target is unknown, and the decision is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlkd.core.metrics import HALF, Bools, Floats, Scores, checked, masks
from mlkd.core.threshold_aim import Thresholds as Thresholds

FOLDS = 5
NEAREST = 1e-7  # smallest distance to 0 and 1: float32 cannot distinguish scores closer to 1


def tune(
    scores: ArrayLike, targets: ArrayLike, config: Thresholds, label_mask: ArrayLike | None = None
) -> NDArray[np.float32]:
    """Tune the threshold of each label (L,).

    A label without positives gets the threshold of all decisions pooled; 0.5 if there are no positives at all.  With a
    precision floor, a label whose mean threshold would miss it on these images gets its own optimum, and a label that
    cannot reach it the most precise threshold; `below_floor` names the labels that still miss it.
    """
    score, target, mask = checked(scores, targets, label_mask)
    if mask is not None:
        target = target & mask
    positives = target.sum(0)
    if not positives.any():
        return np.full(score.shape[1], HALF, dtype=np.float32)
    pooled = _best(*_counted(score.ravel(), target.ravel(), None if mask is None else mask.ravel()), config)
    columns = [_counted(*column) for column in zip(score.T, target.T, masks(mask, score), strict=True)]
    own = np.array([_best(*column, config) if column[1].any() else pooled for column in columns])
    mixed = _between(pooled, own, positives, config.prior)
    if config.precision is None:
        return mixed
    pairs = zip(columns, mixed, strict=True)
    reached = [_precision(*column, threshold) >= config.precision for column, threshold in pairs]
    return np.where(reached, mixed, own).astype(np.float32)


def expected(
    scores: ArrayLike,
    targets: ArrayLike,
    config: Thresholds,
    label_mask: ArrayLike | None = None,
    groups: Sequence[str] | None = None,
) -> tuple[Floats, Floats]:
    """Precision and recall (L,) by cross-validation: each fold is decided with thresholds tuned on the others.

    Images of a group are in one fold.  Precision is nan where no image is predicted, recall where a label has no
    positives; both are nan if all images are one group.
    """
    score, target, mask = checked(scores, targets, label_mask)
    if groups is not None and len(groups) != len(score):
        raise ValueError(f"groups: expected one for each image, {len(score)}, got {len(groups)}")
    mask = np.ones(score.shape, dtype=bool) if mask is None else mask
    target = target & mask
    fold = _folds(target, groups)
    decided = np.zeros(score.shape, dtype=bool)
    if not fold.any():
        return np.full(score.shape[1], np.nan), np.full(score.shape[1], np.nan)
    for held in (fold == number for number in range(fold.max() + 1)):
        decided[held] = score[held] >= tune(score[~held], target[~held], config, mask[~held])
    hits, chosen = (decided & target).sum(0), (decided & mask).sum(0)
    return _fraction(hits, chosen), _fraction(hits, target.sum(0))


def below_floor(
    thresholds: ArrayLike,
    scores: ArrayLike,
    targets: ArrayLike,
    config: Thresholds,
    label_mask: ArrayLike | None = None,
) -> tuple[int, ...]:
    """The columns of labels whose precision at `thresholds` (L,) is below the floor; none for the aim f1."""
    if config.precision is None:
        return ()
    score, target, mask = checked(scores, targets, label_mask)
    columns = zip(score.T, target.T, masks(mask, score), np.asarray(thresholds), strict=True)
    rated = [_precision(*_counted(*column), threshold) for *column, threshold in columns]
    return tuple(label for label, precision in enumerate(rated) if precision < config.precision)


def _precision(score: Scores, target: Bools, threshold: float) -> float:
    """nan where no image is predicted: it compares as neither above nor below a floor."""
    decided = score >= threshold
    return float(target[decided].mean()) if decided.any() else math.nan


def _counted(score: Scores, target: Bools, label_mask: Bools | None) -> tuple[Scores, Bools]:
    return (score, target) if label_mask is None else (score[label_mask], target[label_mask])


def _ranked(score: Scores, target: Bools) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """Distinct scores in descending order, and the numbers of positives and of images with at least that score."""
    order = np.argsort(-score, kind="stable")
    ranked = score[order].astype(np.float64)
    last = np.append(ranked[:-1] != ranked[1:], True)  # a threshold cannot separate equal scores
    return ranked[last], np.cumsum(target[order])[last], np.flatnonzero(last) + 1


def _best(score: Scores, target: Bools, config: Thresholds) -> float:
    """The best threshold, halfway between the lowest accepted score and the next one."""
    ranked, hits, seen = _ranked(score, target)
    highest_f1 = int(np.argmax(2 * hits / (seen + hits[-1])))
    best = highest_f1 if config.precision is None else _at_floor(hits, seen, config.precision)
    below = ranked[best + 1] if best + 1 < len(ranked) else 0.0
    middle = np.float32((ranked[best] + below) / 2)
    return float(middle if below < middle <= ranked[best] else ranked[best])


def _at_floor(hits: NDArray[np.int64], seen: NDArray[np.int64], floor: float) -> int:
    """The index with the most positives at the floor, or at the highest precision if that is lower."""
    precision = hits / seen
    reached = precision >= min(floor, precision.max())
    return int(np.argmax(np.where(reached, hits, -1)))


def _between(pooled: float, own: Floats, positives: NDArray[np.int64], prior: float) -> NDArray[np.float32]:
    weight = positives / np.maximum(positives + prior, 1e-9)
    mixed = weight * _logit(own) + (1 - weight) * _logit(np.array(pooled))
    return np.where(weight == 1, own, 1 / (1 + np.exp(-mixed))).astype(np.float32)


def _logit(score: Floats) -> Floats:
    inside = np.clip(score, NEAREST, 1 - NEAREST)
    return np.log(inside) - np.log1p(-inside)


def _folds(target: Bools, groups: Sequence[str] | None) -> NDArray[np.int64]:
    """The fold (N,) of each image: groups are assigned in turn, those with the rarest label first."""
    of = np.arange(len(target)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    has = np.zeros((of.max() + 1, target.shape[1]), dtype=bool)
    np.logical_or.at(has, of, target)
    rarest_first = has[:, np.argsort(target.sum(0), kind="stable")]
    rarest = np.where(rarest_first.any(1), rarest_first.argmax(1), target.shape[1])
    dealt = np.empty(len(has), dtype=np.int64)
    dealt[np.argsort(rarest, kind="stable")] = np.arange(len(has)) % FOLDS
    return dealt[of]


def _fraction(part: NDArray[np.int64], whole: NDArray[np.int64]) -> Floats:
    fraction: Floats = np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
    return fraction
