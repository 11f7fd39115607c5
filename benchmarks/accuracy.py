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
    """The test pictures and what is on them; `major` and `minor` (N, L) say in which role, if the data knows."""

    files: Sequence[Path]
    targets: NDArray[np.uint8]  # (N, L)
    groups: ArrayLike  # (N,), resampled together
    major: NDArray[np.uint8] | None = None
    minor: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        arrays = {"targets": self.targets, "groups": np.asarray(self.groups), "major": self.major, "minor": self.minor}
        for name, array in arrays.items():
            if array is not None and len(array) != len(self.files):
                raise ValueError(f"{name}: expected {len(self.files)} rows, one a picture, got {len(array)}")


def accuracy(
    scores: NDArray[np.float32], truth: Truth, thresholds: ArrayLike, *, replicates: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """The accuracy fields of a row, fractions in 0..1, None where the truth has no positive.  scores (N, L)."""
    whole = bootstrap_map(scores, truth.targets, truth.groups, replicates=replicates, seed=seed)
    decided = metrics.f1(scores, truth.targets, thresholds)
    by_label = metrics.average_precision(scores, truth.targets)
    return {
        "map": _number(whole.value),
        "map_low": _number(whole.low),
        "map_high": _number(whole.high),
        "map_major": role_map(scores, truth.targets, truth.major),
        "map_minor": role_map(scores, truth.targets, truth.minor),
        "cf1": decided.cf1,
        "of1": decided.of1,
        "ap": [_number(value) for value in by_label],
    }


def role_map(scores: ArrayLike, targets: ArrayLike, role: ArrayLike | None) -> float | None:
    """mAP where a positive is a picture that has the label in this role (N, L).

    A picture that has the label only in the other role is neither right nor wrong for that label: it is left out.
    """
    if role is None:
        return None
    positive = np.asarray(role).astype(bool)
    known = positive | ~np.asarray(targets).astype(bool)
    return _number(metrics.mean_average_precision(scores, positive, known))


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
