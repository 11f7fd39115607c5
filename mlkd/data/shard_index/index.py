"""The index of the streamed training images: where each lies in which shard."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlkd.data.shard_index.member import Member, read_range
from mlkd.data.shard_index.order import Order


@dataclass(frozen=True)
class ShardIndex:
    """N images in S shards; the rows of a shard follow each other, as its images do."""

    files: tuple[Path, ...]
    places: NDArray[np.int64]  # (N, 3): number of the shard, offset and size in bytes
    order: Order

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """(S + 1,) first row of each shard, and N."""
        return np.searchsorted(self.places[:, 0], np.arange(len(self.files) + 1)).astype(np.int64)

    def read(self, start: int, stop: int) -> list[bytes]:
        """Read the images of rows start..stop, which are in one shard, at once.  Raises OSError."""
        places = np.asarray(self.places[start:stop])
        (shard, first, _), (_, last, size) = places[0].tolist(), places[-1].tolist()
        content = read_range(self.files[shard], first, last + size - first)
        return [content[offset - first : offset - first + size] for _, offset, size in places.tolist()]

    def place(self, row: int) -> str:
        """Describe where an image is, for error messages."""
        shard, offset, _ = self.places[row].tolist()
        return f"{self.files[shard]}, byte {offset}"


def write_index(folder: Path, members: Sequence[Member], order: Order) -> None:
    """Write the index of the training images, which are in the order of their shards, into a prepared folder."""
    numbers = {file: number for number, file in enumerate(dict.fromkeys(member.shard for member in members))}
    places = [(numbers[member.shard], member.offset, member.size) for member in members]
    np.save(folder / "train.places.npy", np.array(places, dtype=np.int64))
    tree = {"files": [str(file.absolute()) for file in numbers], "order": asdict(order)}
    (folder / "train.shards.json").write_text(json.dumps(tree, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def read_index(folder: Path) -> ShardIndex | None:
    """Read the index; None where the training images are arrays."""
    file = folder / "train.shards.json"
    if not file.is_file():
        return None
    tree = json.loads(file.read_text(encoding="utf-8"))
    places = np.load(folder / "train.places.npy", mmap_mode="r")
    return ShardIndex(tuple(map(Path, tree["files"])), places, Order(**tree["order"]))
