"""Keeps copies of one image in one split: files with equal bytes, and re-encoded or resized photographs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mlkd.core.files import sha256_of
from mlkd.data.base import Bounds, Finding, LeftOut, Listing
from mlkd.data.disjoint_sets import DisjointSets
from mlkd.data.leakage import COPY, SPLIT_PRIORITY, Decoded, drop_equal_files
from mlkd.data.splits import split_by_hash

MANY = 10  # near copies from which on a group may be frames of one view and not one photograph
SHARE = 0.05  # of all images, likewise
GREY_PX = 24
HASH_DISTANCE = 12  # of 64 bits; a coarse filter, the 24x24 greys decide
FLAT = 0.03  # of 255: standard deviation below which an image has a single tone
RE_ENCODED = 0.05  # root mean square error of a re-encoded or resized copy, relative to the greys' standard deviation
LEAST_ERROR = 1.5  # grey levels of error from rounding and compression alone
NOT_COMPARED = Finding(
    "Training images in shards are compared by content alone.",
    "Re-encoded or resized copies in two splits are not found; scripts/to_shards.py removes them.",
    note=True,
)


def group_equal_files(files: Mapping[str, Path]) -> dict[str, str]:
    """Map each name to the first name whose file has the same bytes.  Only files of equal size are read."""
    by_size: defaultdict[int, list[str]] = defaultdict(list)
    for name, file in files.items():
        by_size[file.stat().st_size].append(name)
    first: dict[str, str] = {}
    for names in by_size.values():
        by_content: dict[str, str] = {}
        for name in names:
            content = sha256_of(files[name]) if len(names) > 1 else ""
            first[name] = by_content.setdefault(content, name)
    return first


def unite_copies(
    listing: Listing, splits: Mapping[str, Sequence[Decoded]], arrays: Mapping[str, Path], left_out: LeftOut
) -> tuple[dict[str, list[Decoded]], list[Finding]]:
    """Return the splits with all copies of a photograph in one of them; what is dropped goes to `left_out`.

    `arrays` has the .npy file of the pixels of each split.  Composed images have parts in common and are no copies.
    Images in shards are not compared.
    """
    remaining, findings = {split: list(images) for split, images in splits.items()}, list[Finding]()
    if listing.streamed:  # the pixels of train are not at hand
        return remaining, [NOT_COMPARED]
    if not listing.composed:
        pixels = {split: np.load(array, mmap_mode="r") for split, array in arrays.items()}
        greys = photograph_greys(pixels[split][image.row] for split, images in splits.items() for image in images)
        photographs = same_photograph_groups(greys).tolist()
        remaining, dropped, findings = move_copies(splits, photographs, listing.bounds)
        for image in dropped:
            left_out.add(COPY, image.sample.name, f"{image.sample.file}: {COPY}", image.sample.positives)
    if listing.published:
        remaining = drop_equal_files(remaining, left_out)
    return remaining, findings


def move_copies(
    splits: Mapping[str, Sequence[Decoded]], photographs: Sequence[int], bounds: Bounds
) -> tuple[dict[str, list[Decoded]], list[Decoded], list[Finding]]:
    """Split the movable images again where two splits have copies of one photograph.

    `photographs` has a number for each image of all splits; copies have the same.  Returns the splits, in which one
    group has all copies; the images that were dropped, because the source chose their split and a split of higher
    priority has a copy; and findings.  Images with equal bytes are not dropped: `refuse_leaks` reports them.
    """
    images = [image for in_split in splits.values() for image in in_split]
    sizes = Counter(photographs)
    limit = max(MANY, SHARE * len(images))
    copies = [number if 1 < sizes[number] <= limit else None for number in photographs]
    merged = _merge_groups(images, copies)
    split_of = [split for split, in_split in splits.items() for _ in in_split]
    movable = [index for index, image in enumerate(merged) if image.sample.movable]
    groups = {merged[index].sample.group for index in movable}
    if bounds and len({(merged[index].sample.group, split_of[index]) for index in movable}) > len(groups):
        again = split_by_hash([merged[index].sample for index in movable], bounds)
        new_split = {sample.name: split for split, samples in again.items() for sample in samples}
        for index in movable:
            split_of[index] = new_split[merged[index].sample.name]
    dropped = _copies_of_higher_splits(merged, copies, split_of)
    remaining = {
        split: [image for index, image in enumerate(merged) if split_of[index] == split and index not in dropped]
        for split in splits
    }
    return remaining, [merged[index] for index in sorted(dropped)], _findings(sizes, limit)


def _merge_groups(images: Sequence[Decoded], copies: Sequence[int | None]) -> list[Decoded]:
    """Give one group to all images whose groups share a photograph or a content."""
    groups = DisjointSets[str]()
    first: dict[int | str, str] = {}
    for image, number in zip(images, copies, strict=True):
        for key in (image.sha256, number):
            if key is not None:
                groups.join(image.sample.group, first.setdefault(key, image.sample.group))
    return [replace(image, sample=replace(image.sample, group=groups.root(image.sample.group))) for image in images]


def _copies_of_higher_splits(
    images: Sequence[Decoded], copies: Sequence[int | None], splits: Sequence[str]
) -> set[int]:
    """Indices of images of which a split of higher priority has a copy, but none with the same bytes."""
    best: dict[int, str] = {}
    for number, split in zip(copies, splits, strict=True):
        if number is not None:
            best[number] = min(best.get(number, split), split, key=SPLIT_PRIORITY.index)
    contents = {(split, image.sha256) for split, image in zip(splits, images, strict=True)}
    return {
        index
        for index, (number, split) in enumerate(zip(copies, splits, strict=True))
        if number is not None and best[number] != split and (best[number], images[index].sha256) not in contents
    }


def _findings(sizes: Counter[int], limit: float) -> list[Finding]:
    copies = [size for size in sizes.values() if 1 < size <= limit]
    large = sorted((size for size in sizes.values() if size > limit), reverse=True)
    findings = []
    if copies:
        numbers = f"{sum(copies)} images show {len(copies)} photographs. All copies of one stay in one split."
        findings.append(Finding("Some images are copies of one photograph.", numbers, note=True))
    if large:
        numbers = f"Groups of {', '.join(map(str, large))} images. They may be in different splits."
        findings.append(Finding("Many images look nearly the same, as frames of one view do.", numbers))
    return findings


def photograph_greys(images: Iterable[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Shrink images (px, px, 3) to greys (N, 24, 24)."""
    greys = (Image.fromarray(image).convert("L") for image in images)
    small = [np.asarray(grey.resize((GREY_PX, GREY_PX), Image.Resampling.BOX)) for grey in greys]
    return np.array(small, np.uint8).reshape(-1, GREY_PX, GREY_PX)  # also of no images


def same_photograph_groups(greys: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Group re-encoded and resized copies by greys (N, 24, 24), directly or in a chain: (N,) the group's lowest index.

    Pairs of nearly the same mean are proposed by their hashes and confirmed on the greys.  An image of a single tone
    is never a copy.
    """
    groups = DisjointSets[int]()
    values = greys.reshape(len(greys), GREY_PX**2).astype(np.float32)
    means, spread = values.mean(1), values.std(1)
    order = np.argsort(means, kind="stable")
    order = order[spread[order] / 255 >= FLAT]
    hashes, limit = _hashes(greys), np.maximum(LEAST_ERROR, RE_ENCODED * spread)
    ends = np.searchsorted(means[order], means[order] + limit[order], side="right")
    for position, index in enumerate(order):
        later = order[position + 1 : ends[position]]
        proposed = later[np.bitwise_count(hashes[later] ^ hashes[index]) <= HASH_DISTANCE]
        error = np.sqrt(((values[proposed] - values[index]) ** 2).mean(1))
        for other in proposed[error <= limit[index]]:
            groups.join(int(index), int(other))
    return np.array([groups.root(index) for index in range(len(greys))], dtype=np.int64)


def _hashes(greys: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Hash greys (N, 24, 24) to (N,) 64 bits: which cells of an 8x8 grid are lighter than the mean."""
    cells = greys.reshape(-1, 8, GREY_PX // 8, 8, GREY_PX // 8).mean((2, 4))
    lighter = cells > cells.mean((1, 2), keepdims=True)
    return np.packbits(lighter.reshape(-1, 64), axis=1).view(np.uint64)[:, 0]
