"""Teacher outputs of images in shards: a folder for each shard, opened when a batch has images of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlkd.data.augment import Views
from mlkd.data.prepared import Split
from mlkd.losses import Loss
from mlkd.models.outputs import Outputs
from mlkd.teachers.cache import TeacherOutputs

OPEN = 128  # shards whose outputs stay open; a process may have about 65,000 memory maps


def folders(out: Path, split: Split) -> list[tuple[Path, range]]:
    """Return the folders of the outputs of a split, with their rows: one, or one for each shard."""
    if split.shards is None:
        return [(out, range(len(split)))]
    starts = split.shards.starts.tolist()
    return [(out / f"{number:06d}", range(first, last)) for number, (first, last) in enumerate(pairwise(starts))]


def open_outputs(folder: Path, split: Split) -> TeacherOutputs | ShardedOutputs:
    """Open the outputs of a split.  Raises ValueError if they are incomplete or of other images."""
    return ShardedOutputs(folder, split) if split.shards else TeacherOutputs.read(folder, split)


class ShardedOutputs:
    """The outputs of a split in shards, with the interface of TeacherOutputs."""

    def __init__(self, folder: Path, split: Split) -> None:
        assert split.shards is not None, "open_outputs has checked"
        self._split, self._index, self._folders = split, split.shards, folders(folder, split)
        self._open: Callable[[int], TeacherOutputs] = lru_cache(OPEN)(self._read)

    def _read(self, shard: int) -> TeacherOutputs:
        folder, rows = self._folders[shard]
        return TeacherOutputs.read(folder, self._split, rows)

    @cached_property
    def views(self) -> Views:
        """The augmentations that were recorded."""
        return self._open(0).views

    @cached_property
    def seed(self) -> int:
        """The seed of the augmentations."""
        return self._open(0).seed

    @property
    def maps(self) -> tuple[NDArray[np.float16], ...]:
        """The stage maps of the first shard; empty where none are stored."""
        return self._open(0).maps

    def batch(self, indices: NDArray[np.int64], view: int) -> Outputs:
        """float32 Outputs of the images `indices` in one view; see TeacherOutputs.batch."""
        shards = np.asarray(self._index.places[indices, 0])
        order = np.argsort(shards, kind="stable")
        parts = [
            self._open(int(shard)).batch(indices[shards == shard] - self._index.starts[shard], view)
            for shard in np.unique(shards)
        ]
        back = torch.from_numpy(np.argsort(order))

        def joined(tensors: Sequence[Tensor | None]) -> Tensor | None:
            present = [tensor for tensor in tensors if tensor is not None]
            return torch.cat(present)[back] if present else None

        logits = torch.cat([part.logits for part in parts])[back]
        maps = [joined(stage) for stage in zip(*(part.features or () for part in parts), strict=True)]
        return Outputs(
            logits=logits,
            embeddings=joined([part.embeddings for part in parts]),
            pooled=joined([part.pooled for part in parts]),
            features=tuple(stage for stage in maps if stage is not None) or None,
            label_maps=joined([part.label_maps for part in parts]),
            last_map=joined([part.last_map for part in parts]),
        )

    def require(self, losses: Sequence[Loss]) -> None:
        """Raise ValueError that names the first loss with a weight that needs an output which is not stored."""
        self._open(0).require(losses)
