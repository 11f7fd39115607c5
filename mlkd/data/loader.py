"""Training batches: order and view depend only on (seed, epoch, image), in any process and from any start."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mlkd.data.augment import Views
from mlkd.data.decode import decode_sizes
from mlkd.data.prepared import Split

Batch = tuple[NDArray[np.int64], tuple[Tensor, ...]]  # rows of the split, and their images at each size

Item = TypeVar("Item")
HUNG_S = 600.0  # without a batch, after which the processes that prepare them are given up


class DeadWorkerError(RuntimeError):
    """A process that prepares images has died; the message has the cause as far as it is known."""


@dataclass(frozen=True, kw_only=True)
class Loader:
    """Shuffled batches of the training split; each of `ranks` processes has an equal part of every batch.

    Images are uint8 (b, px, px, 3) at each of `sizes`, all of the same view, or none without sizes; `workers` processes
    prepare them.
    """

    split: Split
    sizes: tuple[int, ...]
    views: Views
    view_seed: int
    seed: int
    batch_size: int
    rank: int = 0
    ranks: int = 1
    workers: int = 1

    def __post_init__(self) -> None:
        if self.batch_size % self.ranks:
            raise ValueError(
                f"training.batch_size: expected a multiple of the {self.ranks} processes, got {self.batch_size}"
            )

    @property
    def batches_per_epoch(self) -> int:
        """Number of complete batches; each epoch leaves out another incomplete rest."""
        return max(1, len(self.split) // self.batch_size)

    def steps_per_epoch(self, accumulate: int) -> int:
        """Number of steps of `accumulate` batches.  Raises ValueError if an epoch has fewer batches."""
        if accumulate > self.batches_per_epoch:
            raise ValueError(
                f"training.accumulate: expected at most the {self.batches_per_epoch} batches of an epoch, "
                f"got {accumulate}; lower it, or batch_size"
            )
        return self.batches_per_epoch // accumulate

    def view(self, epoch: int) -> int:
        """Return the number of the view that an epoch shows."""
        return epoch % self.views.count

    def rows(self, epoch: int) -> list[list[int]]:
        """Return this process's rows of every batch of an epoch."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.split))
        size = min(self.batch_size, len(order) // self.ranks * self.ranks)
        part = size // self.ranks
        starts = (i * size + self.rank * part for i in range(self.batches_per_epoch))
        return [order[start : start + part].tolist() for start in starts]

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from number `first` on.  Raises DeadWorkerError."""
        rows = self.rows(epoch)[first:]
        if not self.sizes:
            return ((np.array(batch), ()) for batch in rows)
        images = AugmentedImages(self.split, self.sizes, self.views, self.view_seed, self.view(epoch))
        return images.batches(rows, self.workers)


def in_order(images: Sized, size: int) -> list[range]:
    """Return the rows of images in batches, in order; the last may be smaller."""
    return [range(start, min(start + size, len(images))) for start in range(0, len(images), size)]


def scored_at_once(image_px: int, *, cuda: bool) -> int:
    """Batch size of forward passes without training: small on a CPU, whose caches hold the maps of few images.

    16 images of 96 px a batch take half the time of 64 (AVX2).
    """
    return 256 if cuda else max(8, min(64, 150_000 // image_px**2))


def workers(cuda: bool, ranks: int) -> int:
    """Number of processes that prepare images: one for training on a CPU, whose cores more would take."""
    on_this_machine = min(ranks, int(os.environ.get("LOCAL_WORLD_SIZE", ranks)))  # torchrun and accelerate set it
    return min(16, max(1, (os.cpu_count() or 1) // on_this_machine - 1)) if cuda else 1


def read_ahead(batches: Iterator[Batch], count: int = 2) -> Iterator[Batch]:
    """Yield the same batches; a thread reads so many ahead, so that no step waits for the disk."""
    with ThreadPoolExecutor(1) as thread:
        pending = deque(thread.submit(next, batches, None) for _ in range(count))
        while (batch := pending.popleft().result()) is not None:
            pending.append(thread.submit(next, batches, None))
            yield batch


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to the device; to CUDA from pinned memory, so that the copy waits for no kernel."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


class AugmentedImages(Dataset[tuple[int | Tensor, ...]]):
    """One view of every image of a split, at each size."""

    def __init__(self, split: Split, sizes: tuple[int, ...], views: Views, seed: int, view: int) -> None:
        self.split, self.sizes = split, sizes
        self.arrays = [] if split.shards else [split.pixels(px) for px in sizes]
        self.views, self.seed, self.view = views, seed, view

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, row: int) -> tuple[int | Tensor, ...]:
        if self.split.shards:
            decoded, _ = decode_sizes(self.split.shards.read(row, row + 1)[0], self.sizes)
            pixels = [decoded[px] for px in self.sizes]
        else:
            pixels = [array[row] for array in self.arrays]
        return row, *(self.views.apply(image, seed=self.seed, row=row, view=self.view) for image in pixels)

    def batches(self, rows: Sequence[Sequence[int]], processes: int) -> Iterator[Batch]:
        """Yield batches of these rows, prepared by so many processes.  Raises DeadWorkerError."""
        pinned = torch.cuda.is_available()
        loader = DataLoader(self, batch_sampler=map(list, rows), num_workers=processes, pin_memory=pinned)
        for indices, *images in living(loader):
            yield indices.numpy(), tuple(images)


def living(batches: Iterable[Item]) -> Iterator[Item]:
    """Yield the items of a DataLoader.

    Raises:
        DeadWorkerError: one of its processes died, or sent nothing for HUNG_S.
    """
    others = set(multiprocessing.active_children())
    items = iter(batches)
    watchdog = _Watchdog([child for child in multiprocessing.active_children() if child not in others])
    watchdog.start()
    try:
        for item in items:
            watchdog.received += 1
            watchdog.waits = False  # while the batch is used
            yield item
            watchdog.waits = True
    except RuntimeError as cause:
        if watchdog.gave_up:
            raise DeadWorkerError(
                f"images: expected a batch from the loading processes within {HUNG_S:g} s, got none; a traceback above "
                "has the cause if they had an error; is the disk of the images reachable? Then rerun the command"
            ) from cause
        if not str(cause).startswith("DataLoader worker (pid"):
            raise
        raise DeadWorkerError(
            f"images: expected the loading process to live, got: {cause}; "
            "memory or /dev/shm may be full: free some, or lower batch_size, and rerun the command"
        ) from cause
    finally:
        watchdog.done.set()


class _Watchdog(threading.Thread):
    """Kills the processes of a DataLoader that send nothing, which ends the wait for them.

    A batch is lost for good if a process cannot send it: torch prints the error and waits on.  Ticks are counted and
    not time, because a machine that slept, or a command that was stopped for a while, is no hung process.
    """

    def __init__(self, processes: Sequence[BaseProcess]) -> None:
        super().__init__(daemon=True)
        self.processes = processes
        self.received, self.waits = 0, True  # batches; and whether one is waited for
        self.gave_up = False
        self.done = threading.Event()

    def run(self) -> None:
        """Wait until the loading ends, or is given up."""
        tick_s, ticks, received = min(1.0, HUNG_S / 4), 0, 0
        while self.processes and not self.done.wait(tick_s):
            ticks = ticks + 1 if self.waits and received == self.received else 0
            received = self.received
            if ticks * tick_s >= HUNG_S:
                self.gave_up = True
                for process in self.processes:
                    process.kill()
                return
