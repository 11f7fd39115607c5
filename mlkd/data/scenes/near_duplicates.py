"""Groups cut-outs that are nearly the same (copies, recoloured or mirrored twins), so that no two splits share one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mlkd.data.disjoint_sets import DisjointSets

THUMBNAIL_PX = 16
SHAPE_ALIKE = 0.97  # correlation of the alpha thumbnails
DRAWING_ALIKE = 0.88  # correlation of the greys inside the shape; recoloured twins keep their lines
FILLED_ALPHA = 0.74  # discs, cards, flags: the shape carries no information, only the drawing decides
FILLED_ALIKE = 0.95
MOST_SQUEEZED = 1.12  # ratio of the aspects
FLAT = 0.03  # standard deviation of a silhouette's grey: without a drawing, only the shape decides


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
    rows = []
    for part in (first, second):
        flat = part.reshape(len(part), -1)
        flat = flat - flat.mean(1, keepdims=True)
        rows.append((flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)).astype(np.float32))
    return np.asarray(rows[0] @ rows[1].T)
