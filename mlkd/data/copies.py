"""Copies of one image stay in one split: files with the same bytes, and re-encoded or resized photographs."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mlkd.data.base import Bounds, Finding
from mlkd.data.leakage import BY_WORTH, Decoded
from mlkd.data.splits import carve

MANY = 10  # near copies from which on a group may be frames of one view and not one photograph
SHARE = 0.05  # of all images, likewise


def group_copies(files: Mapping[str, Path]) -> dict[str, str]:
    """By name, the name of the first of all files with the same bytes.  Only files of the same size are read."""
    of_size: defaultdict[int, list[str]] = defaultdict(list)
    for name, file in files.items():
        of_size[file.stat().st_size].append(name)
    first: dict[str, str] = {}
    for names in of_size.values():
        of_content: dict[str, str] = {}
        for name in names:
            content = hashlib.sha256(files[name].read_bytes()).hexdigest() if len(names) > 1 else ""
            first[name] = of_content.setdefault(content, name)
    return first


def keep_together(
    splits: Mapping[str, Sequence[Decoded]], photographs: Sequence[int], bounds: Bounds
) -> tuple[dict[str, list[Decoded]], list[Decoded], list[Finding]]:
    """Deal carved images anew where copies of one photograph are in two splits.

    Args:
        splits: the images of each split.
        photographs: one number for each image of all splits in their order; copies of one photograph have the same.
        bounds: those by which the carved images were dealt.

    Returns:
        The splits, with groups that hold all copies; images that were taken out, as a worthier split has a copy and the
        source says in which split each is; and what to tell.  Equal files in two such splits are left to others.
    """
    images = [one for in_split in splits.values() for one in in_split]
    sizes = Counter(photographs)
    most = max(MANY, SHARE * len(images))
    copies = [number if 1 < sizes[number] <= most else None for number in photographs]
    merged = _merged(images, copies)
    split_of = [split for split, in_split in splits.items() for _ in in_split]
    carved = [number for number, one in enumerate(merged) if one.sample.carved]
    if bounds and len({(merged[n].sample.group, split_of[n]) for n in carved}) > len(
        {merged[n].sample.group for n in carved}
    ):
        dealt = carve([merged[number].sample for number in carved], bounds)
        new = {sample.name: split for split, samples in dealt.items() for sample in samples}
        for number in carved:
            split_of[number] = new[merged[number].sample.name]
    out = _in_lesser_splits(merged, copies, split_of)
    kept = {
        split: [one for number, one in enumerate(merged) if split_of[number] == split and number not in out]
        for split in splits
    }
    return kept, [merged[number] for number in sorted(out)], _findings(sizes, most)


def _merged(images: Sequence[Decoded], copies: Sequence[int | None]) -> list[Decoded]:
    """The images, with one group for all whose groups share a photograph or a content."""
    above: dict[str, str] = {}

    def top(name: str) -> str:
        while above.setdefault(name, name) != name:
            name = above[name]
        return name

    first: dict[int | str, str] = {}
    for one, number in zip(images, copies, strict=True):
        for key in (one.sha256, number):
            if key is not None:
                low, high = sorted((top(one.sample.group), top(first.setdefault(key, one.sample.group))))
                above[high] = low
    return [replace(one, sample=replace(one.sample, group=top(one.sample.group))) for one in images]


def _in_lesser_splits(images: Sequence[Decoded], copies: Sequence[int | None], splits: Sequence[str]) -> set[int]:
    """Positions of images of which a worthier split has a copy, but not with the same bytes."""
    best: dict[int, str] = {}
    for number, split in zip(copies, splits, strict=True):
        if number is not None:
            best[number] = min(best.get(number, split), split, key=BY_WORTH.index)
    contents = {(split, one.sha256) for split, one in zip(splits, images, strict=True)}
    return {
        position
        for position, (number, split) in enumerate(zip(copies, splits, strict=True))
        if number is not None and best[number] != split and (best[number], images[position].sha256) not in contents
    }


def _findings(sizes: Counter[int], most: float) -> list[Finding]:
    together = [size for size in sizes.values() if 1 < size <= most]
    large = sorted((size for size in sizes.values() if size > most), reverse=True)
    found = []
    if together:
        told = f"{sum(together)} images show {len(together)} photographs. All copies of one stay in one split."
        found.append(Finding("Some images are copies of one photograph.", told, note=True))
    if large:
        told = f"Groups of {', '.join(map(str, large))} images. They may be in different splits."
        found.append(Finding("Many images look nearly the same, as frames of one view do.", told))
    return found
