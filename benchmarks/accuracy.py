"""Accuracy of scores on the test set: mAP of all, major and minor objects, CF1, OF1, AP by label."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmarks.schema import Accuracy, LabelLoss, OperatingPoint, OperatingPoints
from mlkd.core import metrics
from mlkd.core.groups import Groups
from mlkd.core.intervals import difference_interval, map_interval

WORST = 5  # labels


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The test images and their labels.

    `major` and `minor` (N, L) give the role of a label, where the data has roles; `label_mask` (N, L) is False where a
    label is missing.
    """

    files: Sequence[Path]
    targets: NDArray[np.uint8]  # (N, L)
    groups: Groups  # (N,), a name or a tuple of names each: images that share a name depend on each other
    major: NDArray[np.uint8] | None = None
    minor: NDArray[np.uint8] | None = None
    label_mask: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        arrays = {"targets": self.targets, "groups": self.groups, "major": self.major, "minor": self.minor}
        arrays["label_mask"] = self.label_mask
        for name, array in arrays.items():
            if array is not None and len(array) != len(self.files):
                raise ValueError(f"{name}: expected {len(self.files)} rows, one an image, got {len(array)}")


@dataclass(frozen=True)
class ReferenceScores:
    """Float32 reference scores (N, L) of the test set by the same model, and its thresholds (L,)."""

    scores: NDArray[np.float32]
    thresholds: NDArray[np.float32]


def measure_accuracy(
    scores: NDArray[np.float32],
    truth: Truth,
    thresholds: ArrayLike,
    *,
    labels: Sequence[str],
    reference: ReferenceScores | None = None,
    student: NDArray[np.float32] | None = None,
) -> Accuracy:
    """Measure how good scores (N, L) are; a value is None where the truth has no positive.

    Args:
        scores: of an engine, in 0..1.
        truth: the test set.
        thresholds: (L,) of the engine.
        labels: their L names.
        reference: float scores of the same model on the same images; without, the differences are None.
        student: float scores (N, L) of the bundle's student on the same images, if `scores` are of another model.
    """
    targets, label_mask = truth.targets, truth.label_mask
    points = metrics.operating_points(scores, targets, thresholds, label_mask)
    by_label = metrics.average_precision(scores, targets, label_mask)
    interval = map_interval(scores, targets, truth.groups, label_mask=label_mask)
    result = Accuracy(
        map=_number(interval.value),
        map_low=_number(interval.low),
        map_high=_number(interval.high),
        map_major=role_map(scores, targets, truth.major, label_mask),
        map_minor=role_map(scores, targets, truth.minor, label_mask),
        cf1=points["tuned"].cf1,
        of1=points["tuned"].of1,
        operating_points=OperatingPoints(**{name: _decisions(point) for name, point in points.items()}),
        ap=[_number(value) for value in by_label],
    )
    if student is not None:
        change = difference_interval(scores, student, targets, truth.groups, label_mask=label_mask)
        result = dataclasses.replace(result, vs_student_low=_number(change.low), vs_student_high=_number(change.high))
    return result if reference is None else _compare(result, scores, truth, thresholds, labels, reference)


def _compare(
    result: Accuracy,
    scores: NDArray[np.float32],
    truth: Truth,
    thresholds: ArrayLike,
    labels: Sequence[str],
    reference: ReferenceScores,
) -> Accuracy:
    """Add what the engine loses against its model in float; the interval is paired: both tag the same images."""
    targets, label_mask = truth.targets, truth.label_mask
    change = difference_interval(scores, reference.scores, targets, truth.groups, label_mask=label_mask)
    decided, float_decided = scores >= np.asarray(thresholds), reference.scores >= reference.thresholds
    return dataclasses.replace(
        result,
        delta_map=_number(change.value),
        delta_low=_number(change.low),
        delta_high=_number(change.high),
        flipped=flipped(decided, float_decided, label_mask),
        worst_labels=worst_labels(
            labels,
            metrics.average_precision(scores, targets, label_mask),
            metrics.average_precision(reference.scores, targets, label_mask),
        ),
    )


def flipped(
    decided: NDArray[np.bool_], float_decided: NDArray[np.bool_], label_mask: NDArray[np.bool_] | None = None
) -> float:
    """Share of the decisions (N, L) that differ, of those that the truth knows."""
    differ = decided != float_decided
    return float((differ if label_mask is None else differ[label_mask.astype(bool)]).mean())


def worst_labels(labels: Sequence[str], ap: ArrayLike, float_ap: ArrayLike) -> list[LabelLoss]:
    """Return up to five labels that lost AP, the largest loss first."""
    lost = [
        LabelLoss(label=label, float_ap=float(before), ap=float(after))
        for label, before, after in zip(labels, np.asarray(float_ap), np.asarray(ap), strict=True)
        if before > after  # no label whose AP is nan
    ]
    return sorted(lost, key=lambda loss: loss.ap - loss.float_ap)[:WORST]


def role_map(
    scores: ArrayLike, targets: ArrayLike, role: ArrayLike | None, label_mask: ArrayLike | None = None
) -> float | None:
    """mAP where a positive is an image that has the label in this role (N, L).

    An image that has the label only in the other role is neither right nor wrong for that label: it is left out.
    """
    if role is None:
        return None
    positive = np.asarray(role).astype(bool)
    counted = positive | ~np.asarray(targets).astype(bool)
    counted &= True if label_mask is None else np.asarray(label_mask).astype(bool)
    return _number(metrics.mean_average_precision(scores, positive, counted))


def _decisions(point: metrics.F1) -> OperatingPoint:
    return OperatingPoint(**{entry.name: getattr(point, entry.name) for entry in dataclasses.fields(OperatingPoint)})


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
