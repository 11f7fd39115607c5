"""How good an engine's scores are on the test set: mAP of all, major and minor objects, CF1, OF1, AP by label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlkd import metrics
from mlkd.bootstrap import bootstrap_map


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The test pictures and what is on them.

    `major` and `minor` (N, L) say in which role, if the data knows; `known` (N, L) is False where nobody has decided.
    """

    files: Sequence[Path]
    targets: NDArray[np.uint8]  # (N, L)
    groups: ArrayLike  # (N,), resampled together
    major: NDArray[np.uint8] | None = None
    minor: NDArray[np.uint8] | None = None
    known: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        arrays = {"targets": self.targets, "groups": np.asarray(self.groups), "major": self.major, "minor": self.minor}
        arrays["known"] = self.known
        for name, array in arrays.items():
            if array is not None and len(array) != len(self.files):
                raise ValueError(f"{name}: expected {len(self.files)} rows, one a picture, got {len(array)}")


def accuracy(
    scores: NDArray[np.float32], truth: Truth, thresholds: ArrayLike, *, replicates: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """The accuracy fields of a row, fractions in 0..1, None where the truth has no positive.  scores (N, L)."""
    targets, known = truth.targets, truth.known
    whole = bootstrap_map(scores, targets, truth.groups, replicates=replicates, seed=seed, known=known)
    points = metrics.operating_points(scores, targets, thresholds, known)
    by_label = metrics.average_precision(scores, targets, known)
    return {
        "map": _number(whole.value),
        "map_low": _number(whole.low),
        "map_high": _number(whole.high),
        "map_major": role_map(scores, targets, truth.major, known),
        "map_minor": role_map(scores, targets, truth.minor, known),
        "cf1": points["tuned"].cf1,
        "of1": points["tuned"].of1,
        "operating_points": {name: _decisions(point) for name, point in points.items()},
        "ap": [_number(value) for value in by_label],
    }


def role_map(
    scores: ArrayLike, targets: ArrayLike, role: ArrayLike | None, known: ArrayLike | None = None
) -> float | None:
    """mAP where a positive is a picture that has the label in this role (N, L).

    A picture that has the label only in the other role is neither right nor wrong for that label: it is left out.
    """
    if role is None:
        return None
    positive = np.asarray(role).astype(bool)
    counted = positive | ~np.asarray(targets).astype(bool)
    counted &= True if known is None else np.asarray(known).astype(bool)
    return _number(metrics.mean_average_precision(scores, positive, counted))


def _decisions(point: metrics.F1) -> dict[str, float]:
    means = ("mean_precision", "mean_recall", "pooled_precision", "pooled_recall")
    return {"cf1": point.cf1, "of1": point.of1, **{name: getattr(point, name) for name in means}}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
