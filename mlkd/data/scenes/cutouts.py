"""Reads cut-outs ready to paste: cropped, shrunk, grouped with their near-duplicates and assigned to splits."""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mlkd.core.progress import Progress
from mlkd.data.scenes.near_duplicates import near_duplicate_groups, thumbnail

log = logging.getLogger(__name__)

SHARES = {"train": 0.60, "val": 0.15, "test": 0.25}
VISIBLE_ALPHA = 24  # of 255; fainter pixels count neither for the object's extent nor for its area
LEAST_COVERAGE = 0.15  # of its own box: an empty outline is invisible on a photograph
MOST_PIXELS = 40_000_000
_VISIBLE = [255 * (alpha > VISIBLE_ALPHA) for alpha in range(256)]


@dataclass(frozen=True)
class Cutout:
    """One object: `image` and `half` are RGBA, cropped to the visible part, at most image_px and image_px/2 wide."""

    name: str
    label: int
    group: str
    split: str
    image: Image.Image
    half: Image.Image


@dataclass(frozen=True)
class _Raw:
    name: str
    label: int
    image: Image.Image
    thumbnail: np.ndarray
    aspect: float


def read_cutouts(
    files: dict[str, list[Path]], root: Path, image_px: int, caps: dict[str, int], progress: Progress
) -> tuple[list[Cutout], dict[str, str]]:
    """Read the cut-outs of all labels (columns in the order of `files`), and say why others were skipped.

    Equal files are used once; near-duplicates share a group and a split.  The split depends only on names, so that
    another seed never moves a test object to train.
    """
    raws: list[_Raw] = []
    skipped: dict[str, str] = {}
    seen: set[bytes] = set()
    jobs = [(label, path) for label, paths in enumerate(files.values()) for path in paths]
    with ThreadPoolExecutor() as pool:  # Pillow decodes and resizes without Python's lock
        read = pool.map(lambda job: _read(job[1], job[1].relative_to(root).as_posix(), job[0], image_px), jobs)
        for done, ((_, path), raw) in enumerate(zip(jobs, read, strict=True)):
            progress("cut-outs", done, len(jobs))
            content = hashlib.sha256(path.read_bytes()).digest()
            if isinstance(raw, str) or content in seen:
                skipped[path.relative_to(root).as_posix()] = raw if isinstance(raw, str) else "the same file again"
            else:
                raws.append(raw)
            seen.add(content)
    progress("cut-outs", len(jobs), len(jobs))
    return _assign(raws, list(files), caps, image_px), skipped


def _read(path: Path, name: str, label: int, image_px: int) -> _Raw | str:
    image = visible_part(path)
    if isinstance(image, str):
        return image
    small = thumbnail(image)
    if small[0].mean() < LEAST_COVERAGE:
        return "an empty outline"
    return _Raw(name, label, shrunk(image, image_px), small, image.width / image.height)


def visible_part(path: Path) -> Image.Image | str:
    """Crop a transparent image to its visible part, RGBA; or say why it cannot be used."""
    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                return f"larger than {MOST_PIXELS} pixels"
            image = opened.convert("RGBA")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as cause:
        return f"cannot be read: {cause}"
    extent = visible_extent(image)
    return image.crop(extent) if extent else "no pixel is visible"


def visible_extent(image: Image.Image) -> tuple[int, int, int, int] | None:
    """Return the corners (left, top, right, bottom) of the visible part of an RGBA image; None if there is none."""
    return image.getchannel("A").point(_VISIBLE).getbbox()


def shrunk(image: Image.Image, longest_px: int) -> Image.Image:
    """Shrink the image to a longest side of at most `longest_px`."""
    scale = longest_px / max(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3)


def _assign(raws: list[_Raw], labels: list[str], caps: dict[str, int], image_px: int) -> list[Cutout]:
    numbers = near_duplicate_groups(
        np.stack([raw.thumbnail for raw in raws]),
        np.array([raw.aspect for raw in raws], dtype=np.float32),
        np.array([raw.label for raw in raws]),
    )
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for index, number in enumerate(numbers):
        groups[int(number)].append(index)
    cutouts: list[Cutout] = []
    for label, label_name in enumerate(labels):
        own = {raws[number].name: members for number, members in groups.items() if raws[number].label == label}
        own = _capped(own, caps.get(label_name))
        splits = assign_splits({name: len(members) for name, members in own.items()}, label_name)
        cutouts += [
            Cutout(raw.name, label, name, splits[name], raw.image, shrunk(raw.image, image_px // 2))
            for name, members in own.items()
            for raw in (raws[member] for member in members)
        ]
    return cutouts


def _capped(groups: dict[str, list[int]], at_most: int | None) -> dict[str, list[int]]:
    """Whole groups in the order of their names' hashes, until the label has enough."""
    if at_most is None:
        return groups
    taken: dict[str, list[int]] = {}
    for name in sorted(groups, key=_hash):
        if sum(map(len, taken.values())) < at_most:
            taken[name] = groups[name]
    return taken


def assign_splits(sizes: dict[str, int], label: str) -> dict[str, str]:
    """Assign each group, large ones first, to the split that is furthest below its share.

    Raises ValueError for a label with too few groups for three splits.
    """
    if len(sizes) < len(SHARES):
        raise ValueError(
            f"label {label!r}: expected at least {len(SHARES)} clearly different cut-outs, got {len(sizes)}; add some"
        )
    total = sum(sizes.values())
    filled = dict.fromkeys(SHARES, 0)
    splits: dict[str, str] = {}
    for name in sorted(sizes, key=lambda group: (-sizes[group], _hash(group))):
        split = max(SHARES, key=lambda other: 1 - filled[other] / (SHARES[other] * total))
        splits[name] = split
        filled[split] += sizes[name]
    return splits


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
