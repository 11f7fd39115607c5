"""Chooses the training images that calibrate int8 graphs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


def choose(targets: NDArray[np.uint8], hashes: Sequence[str], count: int, seed: int) -> NDArray[np.int64]:
    """Choose `count` images (all, if there are fewer) that together have every label of targets (N, L).

    Returns sorted indices, which depend on seed and hashes, not on the order.  ValueError if `count` is too small.
    """
    if len(targets) != len(hashes):
        raise ValueError(f"calibration: expected a hash for each of {len(targets)} images, got {len(hashes)}")
    if count < 1:
        raise ValueError(f"export.calibration_images: expected at least 1, got {count}; raise it")
    order = sorted(range(len(hashes)), key=lambda index: hashlib.sha256(f"{seed} {hashes[index]}".encode()).digest())
    shuffled = targets[order].astype(bool)
    chosen = _cover(shuffled)
    if len(chosen) > count:
        raise ValueError(
            f"export.calibration_images: expected at least {len(chosen)}, so that every label is in one, got {count}; "
            "raise it"
        )
    covering = set(chosen)
    rest = [row for row in range(len(order)) if row not in covering]
    return np.array(sorted(order[row] for row in [*chosen, *rest[: count - len(chosen)]]), dtype=np.int64)


def refuse_held_out(chosen: Mapping[str, str], held_out: Mapping[str, Sequence[str]]) -> None:
    """Raise ValueError if an image of `chosen` (hash by name) is also in a split (hashes by name) for evaluation."""
    for split, hashes in held_out.items():
        in_split = set(hashes)
        both = sorted(name for name, digest in chosen.items() if digest in in_split)
        if both:
            raise ValueError(
                f"calibration: expected images of train alone, got {len(both)} that are in {split} as well: "
                f"{', '.join(both[:5])}; take them out of one of the two"
            )


def _cover(targets: NDArray[np.bool_]) -> list[int]:
    """Rows that together have every label: for the rarest uncovered label, its first row, until all are covered."""
    missing = targets.any(axis=0)
    frequency = targets.sum(axis=0)
    chosen: list[int] = []
    while missing.any():
        rarest = min(np.flatnonzero(missing), key=lambda label: (frequency[label], label))
        row = int(np.argmax(targets[:, rarest]))
        chosen.append(row)
        missing &= ~targets[row]
    return chosen
