"""Parts of the test set: objects by role, images by their number of labels, labels by how rare they are."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import role_map
from mlkd.core.metrics import mean_average_precision
from mlkd.data.prepared import Split

Role = Literal["major", "minor"]
COUNTS = {"at most 1 label": (0, 1), "2 labels": (2, 2), "3 or 4": (3, 4), "5 or more": (5, 10_000)}
THIRDS = "rare labels", "others", "frequent labels"


def part_maps(scores: NDArray[np.float32], test: Split, train: Split) -> dict[str, float | None]:
    """mAP of scores (N, L) on each part of the test set that there is; None without a positive.

    Objects of a role leave out images that have the label only in the other role.  Images are grouped by their known
    labels, labels into thirds by their known positives in the training images.
    """
    maps = {
        f"{role} objects": role_map(scores, test.targets, positives, test.label_mask)
        for role in get_args(Role)
        if (positives := test.of_role(role)) is not None
    }
    counts = test.positives.sum(1)
    for name, (low, high) in COUNTS.items():
        maps[name] = _map(scores, test, (low <= counts) & (counts <= high), slice(None))
    by_frequency = np.argsort(train.positives.sum(0), kind="stable")
    for name, labels in zip(THIRDS, np.array_split(by_frequency, len(THIRDS)), strict=True):
        maps[name] = _map(scores, test, slice(None), labels)
    return maps


def _map(
    scores: NDArray[np.float32], test: Split, rows: NDArray[np.bool_] | slice, labels: NDArray[np.int64] | slice
) -> float | None:
    mask = None if test.label_mask is None else test.label_mask[rows][:, labels]
    part, targets = scores[rows][:, labels], test.targets[rows][:, labels]
    value = mean_average_precision(part, targets, mask) if part.size else float("nan")
    return None if np.isnan(value) else value
