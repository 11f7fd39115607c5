"""Multi-label metrics on scores (N, L) and targets (N, L): AP, mAP, F1.  Fractions in 0..1.

Where `label_mask` (N, L) is False the target is unknown, and the decision is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Scores = NDArray[np.float32] | NDArray[np.float64]
HALF, TOP = 0.5, 3


@dataclass(frozen=True)
class F1:
    """Precision and recall of decisions: of each label, as means over labels with a positive, and pooled."""

    precision: Floats  # (L,), 0 where no image is predicted
    recall: Floats  # (L,), 0 where a label has no positive
    mean_precision: float
    mean_recall: float
    pooled_precision: float
    pooled_recall: float

    @property
    def cf1(self) -> float:
        """Harmonic mean of the mean precision and the mean recall."""
        return _harmonic(self.mean_precision, self.mean_recall)

    @property
    def of1(self) -> float:
        """F1 over all decisions pooled."""
        return _harmonic(self.pooled_precision, self.pooled_recall)


def average_precision(scores: ArrayLike, targets: ArrayLike, label_mask: ArrayLike | None = None) -> Floats:
    """AP of each label (L,) by scikit-learn's definition, where equal scores are one threshold.

    nan for a label without positives.  Raises ValueError for unequal shapes and for scores that are nan.
    """
    score, target, mask = checked(scores, targets, label_mask)
    columns = zip(np.ascontiguousarray(score.T), np.ascontiguousarray(target.T), masks(mask, score), strict=True)
    return np.array([_one_label(*column) for column in columns])


def mean_average_precision(scores: ArrayLike, targets: ArrayLike, label_mask: ArrayLike | None = None) -> float:
    """Mean AP over the labels with a positive; nan if no label has one.  Arguments as of `average_precision`."""
    return mean(average_precision(scores, targets, label_mask))


def labels_without_positives(targets: ArrayLike, label_mask: ArrayLike | None = None) -> tuple[int, ...]:
    """The columns of labels without a known positive, which means over labels leave out."""
    target = np.asarray(targets).astype(bool)
    positive = target if label_mask is None else target & _mask(label_mask, target.shape)
    return tuple(np.flatnonzero(~positive.any(0)).tolist())


def f1(scores: ArrayLike, targets: ArrayLike, thresholds: ArrayLike, label_mask: ArrayLike | None = None) -> F1:
    """CF1, OF1, precision and recall of the decisions scores >= thresholds; thresholds are (L,) or one number."""
    score, _, _ = checked(scores, targets, label_mask)
    return f1_of_decisions(score >= np.asarray(thresholds, dtype=np.float64), targets, label_mask)


def f1_of_decisions(decisions: ArrayLike, targets: ArrayLike, label_mask: ArrayLike | None = None) -> F1:
    """CF1, OF1, precision and recall of decisions (N, L), such as those of `top_k`."""
    marked, target, mask = checked(decisions, targets, label_mask)
    chosen = marked > 0
    if mask is not None:
        chosen, target = chosen & mask, target & mask
    hits = (chosen & target).sum(0).astype(np.float64)
    precision, recall = _ratio(hits, chosen.sum(0)), _ratio(hits, target.sum(0))
    present = target.any(0)
    return F1(
        precision=precision,
        recall=recall,
        mean_precision=float(precision[present].mean()) if present.any() else 0.0,
        mean_recall=float(recall[present].mean()) if present.any() else 0.0,
        pooled_precision=float(_ratio(hits.sum(), chosen.sum())),
        pooled_recall=float(_ratio(hits.sum(), target.sum())),
    )


def top_k(scores: ArrayLike, k: ArrayLike, label_mask: ArrayLike | None = None) -> Bools:
    """True (N, L) for the k labels of an image with the highest scores, unknown ones excluded; k may be (N,) numbers.

    Of equal scores the first label counts as higher.
    """
    score, _, mask = checked(scores, np.zeros(np.shape(scores)), label_mask)
    ranked = np.argsort(-(score if mask is None else np.where(mask, score, -np.inf)), axis=1, kind="stable")
    wanted = np.broadcast_to(np.asarray(k), len(score))[:, None] > np.arange(score.shape[1])
    chosen = np.zeros(score.shape, dtype=bool)
    np.put_along_axis(chosen, ranked, wanted, axis=1)
    return chosen if mask is None else chosen & mask


def operating_points(
    scores: ArrayLike, targets: ArrayLike, tuned: ArrayLike, label_mask: ArrayLike | None = None
) -> dict[str, F1]:
    """F1 at 0.5, at tuned thresholds (L,), for the three best labels, and for as many labels as the image has.

    The last one, `oracle_k`, uses the targets; it serves to compare with papers that report it.
    """
    _, target, mask = checked(scores, targets, label_mask)
    true = (target if mask is None else target & mask).sum(1)
    return {
        "half": f1(scores, targets, HALF, label_mask),
        "tuned": f1(scores, targets, tuned, label_mask),
        "top_3": f1_of_decisions(top_k(scores, TOP, label_mask), targets, label_mask),
        "oracle_k": f1_of_decisions(top_k(scores, true, label_mask), targets, label_mask),
    }


def checked(scores: ArrayLike, targets: ArrayLike, label_mask: ArrayLike | None) -> tuple[Scores, Bools, Bools | None]:
    """The arguments as arrays; float32 is kept, as it sorts faster.  Raises ValueError on unequal shapes and nan."""
    score, target = np.asarray(scores), np.asarray(targets).astype(bool)
    score = score if score.dtype == np.float32 else score.astype(np.float64)
    if score.ndim != 2 or score.shape != target.shape or not len(score):
        raise ValueError(f"scores and targets: expected equal shapes (N, L), got {score.shape} and {target.shape}")
    if np.isnan(score).any():
        rows = np.unique(np.nonzero(np.isnan(score))[0])[:5].tolist()
        raise ValueError(f"scores: expected numbers, got nan in rows {rows}; the model diverged or the input was bad")
    return score, target, None if label_mask is None else _mask(label_mask, score.shape)


def masks(mask: Bools | None, score: Scores) -> Sequence[Bools | None]:
    """The mask (N,) of each label, or None for each label."""
    return [None] * score.shape[1] if mask is None else list(np.ascontiguousarray(mask.T))


def mean(values: Floats) -> float:
    """Mean of the values that are not nan; nan if all are."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if len(present) else float("nan")


def _one_label(score: Scores, target: Bools, label_mask: Bools | None) -> float:
    """Mean over the positives of the precision at their score; sorting values is several times faster than argsort."""
    if label_mask is not None:
        score, target = score[label_mask], target[label_mask]
    positive = np.sort(score[target])
    if not len(positive):
        return float("nan")
    hits = len(positive) - np.searchsorted(positive, positive)
    seen = len(score) - np.searchsorted(np.sort(score), positive)
    return float((hits / seen).mean())


def _mask(label_mask: ArrayLike, shape: tuple[int, ...]) -> Bools:
    mask = np.asarray(label_mask).astype(bool)
    if mask.shape != shape:
        raise ValueError(f"label_mask: expected the shape of the targets {shape}, got {mask.shape}")
    return mask


def _ratio(part: Any, whole: Any) -> Any:
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _harmonic(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b else 0.0
