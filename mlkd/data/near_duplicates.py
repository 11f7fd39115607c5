"""Finds images that are nearly the same, so that no two splits share one: copies, recoloured or mirrored twins."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mlkd.data.groups import DisjointSets

THUMBNAIL_PX = 16
SHAPE_ALIKE = 0.97  # correlation of the alpha thumbnails
DRAWING_ALIKE = 0.88  # correlation of the greys inside the shape; recoloured twins keep their lines
FILLED_ALPHA = 0.74  # discs, cards, flags: the shape carries no information, only the drawing decides
FILLED_ALIKE = 0.95
GREY_PX = 24
HASH_DISTANCE = 12  # of 64 bits; a coarse filter, the 24x24 greys decide
MOST_SQUEEZED = 1.12  # ratio of the aspects
FLAT = 0.03  # standard deviation of a silhouette's grey: without a drawing, only the shape decides
RE_ENCODED = 0.05  # root mean square error of a re-encoded or resized copy, relative to the greys' standard deviation
LEAST_ERROR = 1.5  # grey levels of error from rounding and compression alone


def thumbnail(cutout: Image.Image) -> NDArray[np.float32]:
    """Shrink a cropped RGBA image to (2, 16, 16): alpha 0..1, and grey minus its mean over the visible pixels."""
    small = cutout.resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BOX)
    alpha = np.asarray(small.getchannel("A"), dtype=np.float32) / 255
    grey = np.asarray(small.convert("RGB").convert("L"), dtype=np.float32) / 255
    mean = (grey * alpha).sum() / max(float(alpha.sum()), 1e-6)
    return np.stack([alpha, (grey - mean) * alpha])


def near_duplicate_groups(
    thumbnails: NDArray[np.float32], aspects: NDArray[np.float32], labels: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Group near-duplicates, mirrored ones too, within each label, directly or in a chain.

    Takes thumbnails (N, 2, 16, 16), width / height (N,) and label columns (N,); returns the lowest index of each group.
    """
    groups = DisjointSets[int]()
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        for first, second in zip(*np.nonzero(_alike(thumbnails[members], aspects[members])), strict=True):
            groups.join(int(members[first]), int(members[second]))
    return np.array([groups.root(index) for index in range(len(thumbnails))])


def photograph_greys(images: Iterable[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Shrink images (px, px, 3) to greys (N, 24, 24)."""
    greys = (Image.fromarray(image).convert("L") for image in images)
    small = [np.asarray(grey.resize((GREY_PX, GREY_PX), Image.Resampling.BOX)) for grey in greys]
    return np.stack(small) if small else np.zeros((0, GREY_PX, GREY_PX), np.uint8)


def same_photograph_groups(greys: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Group re-encoded and resized copies by greys (N, 24, 24), directly or in a chain: (N,) the group's lowest index.

    Pairs of nearly the same mean are proposed by their hashes and confirmed on the greys.  An image of a single tone
    is never a copy.
    """
    groups = DisjointSets[int]()
    values = greys.reshape(len(greys), -1).astype(np.float32)
    means, spread = values.mean(1), values.std(1)
    order = np.argsort(means, kind="stable")
    order = order[spread[order] / 255 >= FLAT]
    hashes, limit = drawing_hashes(greys), np.maximum(LEAST_ERROR, RE_ENCODED * spread)
    ends = np.searchsorted(means[order], means[order] + limit[order], side="right")
    for position, index in enumerate(order):
        later = order[position + 1 : ends[position]]
        proposed = later[np.bitwise_count(hashes[later] ^ hashes[index]) <= HASH_DISTANCE]
        error = np.sqrt(((values[proposed] - values[index]) ** 2).mean(1))
        for other in proposed[error <= limit[index]]:
            groups.join(int(index), int(other))
    return np.array([groups.root(index) for index in range(len(greys))], dtype=np.int64)


def drawing_hashes(greys: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Hash greys (N, 24, 24) to (N,) 64 bits: which cells of an 8x8 grid are lighter than the mean."""
    cells = greys.reshape(-1, 8, GREY_PX // 8, 8, GREY_PX // 8).mean((2, 4))
    lighter = cells > cells.mean((1, 2), keepdims=True)
    return np.packbits(lighter.reshape(-1, 64), axis=1).view(np.uint64)[:, 0]


def _alike(thumbnails: NDArray[np.float32], aspects: NDArray[np.float32]) -> NDArray[np.bool_]:
    plain = _twins(thumbnails, thumbnails)
    mirrored = _twins(thumbnails, thumbnails[..., ::-1])
    ratio = aspects[:, None] / aspects[None]
    return np.asarray((plain | mirrored) & (np.maximum(ratio, 1 / ratio) < MOST_SQUEEZED))


def _twins(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.bool_]:
    shape = _correlation(first[:, 0], second[:, 0])
    drawing = _correlation(first[:, 1], second[:, 1])
    filled = _pairs(first[:, 0].mean((1, 2)) > FILLED_ALPHA)
    flat = _pairs(first[:, 1].std((1, 2)) < FLAT) & ~filled
    drawn_alike = drawing > np.where(filled, FILLED_ALIKE, DRAWING_ALIKE)
    return np.asarray((drawn_alike | flat) & ((shape > SHAPE_ALIKE) | filled))


def _pairs(single: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return single[:, None] & single[None]


def _correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    rows = [_normalised(part) for part in (first, second)]
    return np.asarray(rows[0] @ rows[1].T, dtype=np.float32)


def _normalised(part: NDArray[np.floating]) -> NDArray[np.float32]:
    flat = part.reshape(len(part), -1)
    flat = flat - flat.mean(1, keepdims=True)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6), dtype=np.float32)
