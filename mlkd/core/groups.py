"""Groups of images that depend on each other: the images that share a name."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mlkd.core.metrics import Floats

Groups = Sequence[str | int | Sequence[str]] | NDArray[np.generic]  # (N,) for each image one name or several


def sums_of_related(values: Floats, groups: Groups) -> Floats:
    """For each image the sum (N, C) of `values` over the images that share a name with it, and itself."""
    if not are_composed(groups):
        _, member = np.unique([names_of(group)[0] for group in groups], return_inverse=True)
        order = np.argsort(member, kind="stable")
        starts = np.searchsorted(member[order], np.arange(member.max() + 1))
        return np.asarray(np.add.reduceat(values[order], starts, axis=0)[member], dtype=np.float64)
    related = _related(tuple(names_of(group) for group in groups))
    return np.array([values[images].sum(0) for images in related], dtype=np.float64)


@functools.lru_cache(maxsize=2)  # all engines of a bench are measured on the same images
def _related(groups: tuple[tuple[str, ...], ...]) -> list[NDArray[np.int32]]:
    """For each image the rows of the images that share a name with it, and its own.

    A name that all images have, such as a single background, is ignored: it does not vary.
    """
    images: dict[str, list[int]] = {}
    for row, names in enumerate(groups):
        for name in set(names):
            images.setdefault(name, []).append(row)
    members = {name: np.array(rows, np.int32) for name, rows in images.items()}
    related: list[NDArray[np.int32]] = []
    marked = np.zeros(len(groups), dtype=bool)
    for names in groups:
        for name in names:
            if len(members[name]) < len(groups):
                marked[members[name]] = True
        marked[len(related)] = True
        related.append(np.flatnonzero(marked).astype(np.int32))
        marked[:] = False
    return related


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
