"""The prepared set as other stages read it: decoded pixels at every size, targets and splits, memory-mapped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mlkd.core import images
from mlkd.core.labels import Labels
from mlkd.data.base import Box
from mlkd.data.shard_index.index import ShardIndex, read_index

SPLITS = ("train", "select", "tune", "test")


@dataclass(frozen=True)
class Split:
    """One split of a prepared set; N images, L labels."""

    folder: Path
    name: str  # train, select, tune or test
    labels: Labels
    names: Sequence[str]  # of the images
    files: Sequence[Path]  # none of images in shards
    groups: Sequence[str]  # images of one group are in one split
    hashes: Sequence[str]  # SHA-256 of each file
    boxes: Sequence[tuple[Box, ...]]  # of each image; empty where the source has none
    targets: NDArray[np.uint8]  # (N, L), 1 for a positive
    label_mask: NDArray[np.bool_] | None = None  # (N, L), False where a label is not known; None where all are known
    shared: Sequence[tuple[str, ...]] = ()  # for each image names of what else it has in common with others, or empty
    shards: ShardIndex | None = None  # of images that are streamed; they have no arrays

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def positives(self) -> NDArray[np.bool_]:
        """The labels (N, L) that images are known to have."""
        return (self.targets > 0) & (True if self.label_mask is None else self.label_mask)

    def pixels(self, image_px: int) -> NDArray[np.uint8]:
        """Pixels (N, image_px, image_px, 3), memory-mapped.  Raises ValueError for a size that was not prepared."""
        file = self.folder / f"{self.name}.{image_px}.npy"
        if self.shards:
            raise ValueError(
                f"{self.name}: expected images as an array, got shards; use a data source other than shards"
            )
        if not file.is_file():
            sizes = sorted(int(path.stem.split(".")[1]) for path in self.folder.glob(f"{self.name}.[0-9]*.npy"))
            raise ValueError(
                f"image_px: expected one of the prepared sizes {sizes}, got {image_px}; prepare it as well"
            )
        pixels: NDArray[np.uint8] = np.load(file, mmap_mode="r")
        return pixels

    def pixels_of(self, image_px: int, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        """Pixels (len(rows), image_px, image_px, 3) of a few images.  Raises ValueError as `pixels`, and OSError."""
        return self.decode(image_px, rows) if self.shards else np.array(self.pixels(image_px)[rows])

    def decode(self, image_px: int, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        """Pixels as `pixels_of`, at a size that needs not be prepared: the images are decoded again."""
        sources = [self.shards.read(row, row + 1)[0] if self.shards else self.files[row] for row in rows]
        return np.stack([images.load(source, image_px) for source in sources])

    @cached_property
    def clusters(self) -> tuple[tuple[str, ...], ...]:
        """For each image the names of all that it may have in common with others: its group, its cut-outs, ..."""
        shared = self.shared or ((),) * len(self)
        return tuple((group, *names) for group, names in zip(self.groups, shared, strict=True))

    @cached_property
    def aspects(self) -> NDArray[np.float64]:
        """(N,) width / height of the upright images, read from their files.  Raises UnreadableImageError."""
        return np.array([images.aspect(file) for file in self.files])

    def aspects_of(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """(len(rows),) width / height of these images, as `aspects`."""
        if self.shards:
            return np.array([images.aspect(self.shards.read(row, row + 1)[0]) for row in rows])
        return self.aspects[rows]

    def of_role(self, role: Literal["major", "minor"]) -> NDArray[np.uint8] | None:
        """(N, L): which labels have an object of the role; None where the source has no boxes."""
        if not any(self.boxes):
            return None
        marked = np.zeros_like(self.targets)
        for row, boxes in enumerate(self.boxes):
            marked[row, [box.label for box in boxes if box.role == role]] = 1
        return marked


def read_split(folder: Path, name: str) -> Split:
    """Read train, select, tune or test of a prepared folder.  Raises ValueError for another name or folder."""
    if name not in SPLITS:
        raise ValueError(f"split: expected one of {', '.join(SPLITS)}, got {name!r}")
    file = folder / f"{name}.json"
    if not file.is_file():
        raise ValueError(f"data: expected a prepared set with {file.name} in {folder}, got none; run the data stage")
    if name == "train" and (index := read_index(folder)):
        return _read_streamed(folder, index)
    tree = json.loads(file.read_text(encoding="utf-8"))
    label_mask = folder / f"{name}.known.npy"
    return Split(
        folder=folder,
        name=name,
        labels=Labels.read(folder / "labels.json"),
        names=tuple(tree["names"]),
        files=tuple(folder.absolute() / path for path in tree["files"]),
        groups=tuple(tree["groups"]),
        hashes=tuple(tree["sha256"]),
        boxes=tuple(tuple(Box(*values) for values in boxes) for boxes in tree["boxes"]),
        targets=np.load(folder / f"{name}.targets.npy"),
        label_mask=np.load(label_mask) if label_mask.is_file() else None,
        shared=tuple(map(tuple, tree["shared"])),
    )


def _read_streamed(folder: Path, index: ShardIndex) -> Split:
    """Read the training split whose images are in shards; what is large is memory-mapped, or read where it is used."""
    lists, label_mask = _Lists(folder / "train.json"), folder / "train.known.npy"
    names, groups, hashes = (_Column(lists, column) for column in ("names", "groups", "sha256"))
    return Split(
        folder=folder,
        name="train",
        labels=Labels.read(folder / "labels.json"),
        names=names,
        files=(),
        groups=groups,
        hashes=hashes,
        boxes=(),
        targets=np.load(folder / "train.targets.npy", mmap_mode="r"),
        label_mask=np.load(label_mask, mmap_mode="r") if label_mask.is_file() else None,
        shards=index,
    )


@dataclass(frozen=True)
class _Lists:
    """Lists in a JSON file that is read when one of them is first used: training on millions of images uses none."""

    file: Path

    @cached_property
    def tree(self) -> dict[str, list[str]]:
        return dict(json.loads(self.file.read_text(encoding="utf-8")))


class _Column(Sequence[str]):
    """One of the lists."""

    def __init__(self, lists: _Lists, name: str) -> None:
        self._lists, self._name = lists, name

    def __len__(self) -> int:
        return len(self._lists.tree[self._name])

    def __getitem__(self, place: Any) -> Any:
        return self._lists.tree[self._name][place]
