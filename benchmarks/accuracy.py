"""How good an engine's scores are on the test set: mAP of all, major and minor objects, CF1, OF1, AP by label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlkd.core import metrics
from mlkd.core.groups import Groups
from mlkd.core.intervals import Interval, difference_interval, map_interval

WORST = 5  # labels


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The test images and what is on them.

    `major` and `minor` (N, L) say in which role, if the data knows; `label_mask` (N, L) is False where a label is
    missing.
    """

    files: Sequence[Path]
    targets: NDArray[np.uint8]  # (N, L)
    groups: Groups  # (N,), a name or a tuple of names each: images that share a name depend on each other
    major: NDArray[np.uint8] | None = None
    minor: NDArray[np.uint8] | None = None
    label_mask: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        arrays = {"targets": self.targets, "groups": self.groups, "major": self.major, "minor": self.minor}
        arrays["known"] = self.label_mask
        for name, array in arrays.items():
            if array is not None and len(array) != len(self.files):
                raise ValueError(f"{name}: expected {len(self.files)} rows, one an image, got {len(array)}")


def accuracy(
    scores: NDArray[np.float32],
    truth: Truth,
    thresholds: ArrayLike,
    *,
    labels: Sequence[str],
    float_scores: NDArray[np.float32] | None = None,
    float_thresholds: ArrayLike | None = None,
) -> dict[str, Any]:
    """The accuracy fields of a row, fractions in 0..1, None where the truth has no positive.  scores (N, L).

    `float_scores` with their thresholds are those of the same model in float, on the same images: without them there
    is no difference to tell.
    """
    targets, label_mask = truth.targets, truth.label_mask
    points = metrics.operating_points(scores, targets, thresholds, label_mask)
    by_label = metrics.average_precision(scores, targets, label_mask)
    differences = dict.fromkeys(("delta_map", "delta_low", "delta_high", "flipped", "worst_labels"))
    if float_scores is not None and float_thresholds is not None:
        differences = _differences(scores, truth, thresholds, labels, float_scores, float_thresholds)
    return {
        **_ends(map_interval(scores, targets, truth.groups, label_mask=label_mask), "map", "map_low", "map_high"),
        **differences,
        "map_major": role_map(scores, targets, truth.major, label_mask),
        "map_minor": role_map(scores, targets, truth.minor, label_mask),
        "cf1": points["tuned"].cf1,
        "of1": points["tuned"].of1,
        "operating_points": {name: _decisions(point) for name, point in points.items()},
        "ap": [_number(value) for value in by_label],
    }


def _differences(
    scores: NDArray[np.float32],
    truth: Truth,
    thresholds: ArrayLike,
    labels: Sequence[str],
    float_scores: NDArray[np.float32],
    float_thresholds: ArrayLike,
) -> dict[str, Any]:
    """What the engine gives up against the model in float; the interval is paired: both tag the same images."""
    targets, label_mask = truth.targets, truth.label_mask
    change = difference_interval(scores, float_scores, targets, truth.groups, label_mask=label_mask)
    return {
        **_ends(change, "delta_map", "delta_low", "delta_high"),
        "flipped": flipped(scores >= np.asarray(thresholds), float_scores >= np.asarray(float_thresholds), label_mask),
        "worst_labels": worst_labels(
            labels,
            metrics.average_precision(scores, targets, label_mask),
            metrics.average_precision(float_scores, targets, label_mask),
        ),
    }


def flipped(
    decided: NDArray[np.bool_], float_decided: NDArray[np.bool_], label_mask: NDArray[np.bool_] | None = None
) -> float:
    """Share of the decisions (N, L) that differ, of those that the truth knows."""
    differ = decided != float_decided
    return float((differ if label_mask is None else differ[label_mask.astype(bool)]).mean())


def worst_labels(labels: Sequence[str], ap: ArrayLike, float_ap: ArrayLike) -> list[dict[str, Any]]:
    """Up to five labels that lost the most AP, the most first; none that lost nothing."""
    rows: list[dict[str, Any]] = [
        {"label": label, "float_ap": float(before), "ap": float(after)}
        for label, before, after in zip(labels, np.asarray(float_ap), np.asarray(ap), strict=True)
        if before > after  # no label whose AP is nan
    ]
    return sorted(rows, key=lambda row: row["ap"] - row["float_ap"])[:WORST]


def _ends(interval: Interval, *names: str) -> dict[str, float | None]:
    """Value, low and high under these names."""
    return dict(zip(names, map(_number, (interval.value, interval.low, interval.high)), strict=True))


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


def _decisions(point: metrics.F1) -> dict[str, float]:
    means = ("mean_precision", "mean_recall", "pooled_precision", "pooled_recall")
    return {"cf1": point.cf1, "of1": point.of1, **{name: getattr(point, name) for name in means}}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
