"""Training batches streamed from shards, in an order that does not depend on the number of processes.

In each epoch the shards stand in a line, in random order.  The line is cut into `streams` equal parts, and each batch
has as many images of every stream.  Each process, and each of its workers, reads its own streams.  A stream reads
`shuffle` images at a time, in the order of their shards, and yields them in random order.  All of that is a function of
(seed, epoch), so the number of a batch is enough to find shard and offset where an interrupted run goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from mlkd.core.images import UnreadableImageError
from mlkd.data.decode import decode_sizes
from mlkd.data.loader import Batch, Loader, living
from mlkd.data.shard_index.index import ShardIndex


@dataclass(frozen=True, kw_only=True)
class ShardLoader(Loader):
    """A Loader of a split that is streamed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        streams = self.index.order.streams
        if streams % self.ranks:
            raise ValueError(f"data.streams: expected a multiple of the {self.ranks} processes, got {streams}")
        if self.batch_size % streams:
            raise ValueError(
                f"training.batch_size: expected a multiple of the {streams} streams of the shards, got "
                f"{self.batch_size}; change it, or data.streams"
            )
        if self.batch_size > len(self.split):
            raise ValueError(
                f"training.batch_size: expected at most the {len(self.split)} images of the shards, got "
                f"{self.batch_size}"
            )

    @property
    def index(self) -> ShardIndex:
        """The index of the split."""
        assert self.split.shards is not None, "the trainer has checked"
        return self.split.shards

    @property
    def own_streams(self) -> range:
        """The streams of this process."""
        count = self.index.order.streams // self.ranks
        return range(self.rank * count, (self.rank + 1) * count)

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from number `first` on.  Raises DeadWorkerError."""
        own = len(self.own_streams)
        processes = max((count for count in range(1, self.workers + 1) if own % count == 0), default=0)
        parts = living(DataLoader(_Streams(self, epoch, first), batch_size=None, num_workers=processes))
        for together in zip(*[parts] * max(1, processes), strict=True):  # a part of each worker
            rows, *images = zip(*together, strict=True)
            yield torch.cat(rows).numpy(), tuple(torch.cat(of_size) for of_size in images)


class _Streams(IterableDataset[tuple[Tensor, ...]]):
    """The parts of the batches that come from the streams of a process; in a worker, from its share of them."""

    def __init__(self, loader: ShardLoader, epoch: int, first: int) -> None:
        self.loader, self.epoch, self.first = loader, epoch, first
        index = loader.index
        self.part = loader.batch_size // index.order.streams  # images of a stream in a batch
        self.line = np.random.default_rng([loader.seed, epoch]).permutation(len(index.files))
        self.ends = np.cumsum(np.diff(index.starts)[self.line])  # of each shard in the line

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        """Yield rows, and images at each size."""
        worker, own = get_worker_info(), self.loader.own_streams
        if worker is not None:
            share = len(own) // worker.num_workers
            own = own[worker.id * share : (worker.id + 1) * share]
        streams = [self._stream(number) for number in own]
        for _ in range(self.first, self.loader.batches_per_epoch):
            samples = [next(stream) for stream in streams for _ in range(self.part)]
            views = [self._views(row, content) for row, content in samples]
            yield torch.tensor([row for row, _ in samples]), *map(torch.stack, zip(*views, strict=True))

    def _stream(self, number: int) -> Iterator[tuple[int, bytes]]:
        """Yield (row, image file) of a stream, from the first batch on."""
        loader, order = self.loader, self.loader.index.order
        begin = number * len(loader.split) // order.streams
        end = begin + loader.batches_per_epoch * self.part
        position = begin + self.first * self.part
        window = (position - begin) // order.shuffle
        while position < end:
            start = begin + window * order.shuffle
            samples = self._read(start, min(start + order.shuffle, end))
            shuffled = np.random.default_rng([loader.seed, self.epoch, number, window]).permutation(len(samples))
            for choice in shuffled[position - start :].tolist():
                yield samples[choice]
            position, window = start + len(samples), window + 1

    def _read(self, start: int, stop: int) -> list[tuple[int, bytes]]:
        """Read the images at positions start..stop of the line, each shard at once."""
        index, samples = self.loader.index, list[tuple[int, bytes]]()
        for place in range(int(np.searchsorted(self.ends, start, side="right")), len(self.line)):
            first, last = index.starts[self.line[place] :][:2].tolist()
            begin = int(self.ends[place]) - (last - first)
            if begin >= stop:
                break
            rows = range(first + max(0, start - begin), min(last, first + stop - begin))
            samples += zip(rows, index.read(rows.start, rows.stop), strict=True)
        return samples

    def _views(self, row: int, content: bytes) -> list[Tensor]:
        """Return the view of the epoch at each size."""
        loader = self.loader
        try:
            decoded, _ = decode_sizes(content, loader.sizes)
        except UnreadableImageError as cause:
            raise ValueError(f"{loader.index.place(row)}: expected the image of the data stage, got: {cause}") from None
        pixels, view = [decoded[px] for px in loader.sizes], loader.view(self.epoch)
        return [loader.views.apply(image, seed=loader.view_seed, row=row, view=view) for image in pixels]
