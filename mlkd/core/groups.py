"""Groups of images that depend on each other: the images that share a name."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mlkd.core.metrics import Floats

Groups = Sequence[str | int | Sequence[str]] | NDArray[np.generic]  # (N,) for each image one name or several
BLOCK = 256  # rows of the matrix of related images that are in memory as numbers


def sums_of_related(values: Floats, groups: Groups) -> Floats:
    """For each image the sum (N, C) of `values` over the images that share a name with it, and itself."""
    if not are_composed(groups):
        _, member = np.unique([names_of(group)[0] for group in groups], return_inverse=True)
        order = np.argsort(member, kind="stable")
        starts = np.searchsorted(member[order], np.arange(member.max() + 1))
        return np.asarray(np.add.reduceat(values[order], starts, axis=0)[member], dtype=np.float64)
    related = _related(tuple(names_of(group) for group in groups))
    sums = [_unpacked(related[rows], len(values)) @ values for rows in _blocks(len(values))]
    return np.concatenate(sums).astype(np.float64, copy=False)


@functools.lru_cache(maxsize=2)  # all engines of a bench are measured on the same images
def _related(groups: tuple[tuple[str, ...], ...]) -> NDArray[np.uint8]:
    """Which images share a name with each image, and itself: a square matrix of bits, packed along its rows.

    A name that all images have, such as a single background, is ignored: it does not vary.
    """
    shared = Counter(name for names in groups for name in set(names))
    columns = {name: column for column, name in enumerate(n for n, count in shared.items() if 1 < count < len(groups))}
    has = np.zeros((len(groups), max(1, len(columns))), dtype=np.float32)
    for row, names in enumerate(groups):
        has[row, [columns[name] for name in names if name in columns]] = 1
    packed = []
    for rows in _blocks(len(groups)):
        related = has[rows] @ has.T > 0
        related[np.arange(len(related)), np.arange(rows.start, rows.start + len(related))] = True
        packed.append(np.packbits(related, axis=1))
    return np.concatenate(packed)


def _unpacked(bits: NDArray[np.uint8], count: int) -> Floats:
    return np.unpackbits(bits, axis=1, count=count).astype(np.float64)


def _blocks(images: int) -> list[slice]:
    return [slice(start, start + BLOCK) for start in range(0, images, BLOCK)]


def are_composed(groups: Groups) -> bool:
    """Whether an image has several names, those of its parts."""
    return any(len(names_of(group)) > 1 for group in groups)


def names_of(group: object) -> tuple[str, ...]:
    """The names of one image."""
    return tuple(str(name) for name in group) if isinstance(group, (tuple, list, np.ndarray)) else (str(group),)


def check_length(groups: Groups, images: int) -> None:
    """Raise ValueError unless each of so many images has a name."""
    if len(groups) != images:
        raise ValueError(f"groups: expected {images}, one for each image, got {len(groups)}")
    for row, group in enumerate(groups):
        if not names_of(group):
            raise ValueError(f"groups: image {row} has no name; give each image at least one name")
