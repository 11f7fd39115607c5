"""Cuts val into select (early stopping, weights) and tune (thresholds): disjoint, by content, fair to rare labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def select_and_tune(targets: NDArray[np.uint8], hashes: list[str]) -> NDArray[np.bool_]:
    """(N, L) targets and N content hashes to (N,): True = select, False = tune.

    Rare labels are dealt first, each image to the half with fewer positives of that label so far.  Equal contents
    stay together.  Raises ValueError with fewer than two different images.
    """
    units = _units(hashes)
    if len(units) < 2:
        raise ValueError(f"val: expected at least 2 different images to cut in two, got {len(units)}; add images")
    positive = np.stack([targets[rows].max(0) for rows in units]).astype(np.int64)
    side = np.zeros(len(units), dtype=np.int64)  # +1 select, -1 tune, 0 not dealt yet
    balance = np.zeros(positive.shape[1], dtype=np.int64)
    for label in np.argsort(positive.sum(0), kind="stable"):
        for unit in np.flatnonzero((positive[:, label] > 0) & (side == 0)):
            side[unit] = _lighter(balance[label], side.sum())
            balance += side[unit] * positive[unit]
    for unit in np.flatnonzero(side == 0):
        side[unit] = _lighter(0, side.sum())
    chosen = np.zeros(len(hashes), dtype=np.bool_)
    for rows, half in zip(units, side, strict=True):
        chosen[rows] = half > 0
    return chosen


def _units(hashes: list[str]) -> list[list[int]]:
    rows: dict[str, list[int]] = {}
    for row, digest in enumerate(hashes):
        rows.setdefault(digest, []).append(row)
    return [rows[digest] for digest in sorted(rows)]


def _lighter(of_label: int, of_all: int) -> int:
    if of_label != 0:
        return -1 if of_label > 0 else 1
    return -1 if of_all > 0 else 1
