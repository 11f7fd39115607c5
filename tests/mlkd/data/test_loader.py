from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mlkd.data.augment import Views
from mlkd.data.loader import Batch, DeadWorkerError, Loader, read_ahead, to_device, workers
from mlkd.data.prepared import read_split


def loader(prepared: Path, **changes: object) -> Loader:
    settings = {
        "split": read_split(prepared, "train"), "sizes": (24, 32), "views": Views(count=2), "view_seed": 5, "seed": 1,
        "batch_size": 8,
    }  # fmt: skip
    return Loader(**{**settings, **changes})  # type: ignore[arg-type]


def test_processes_share_each_batch(prepared: Path) -> None:
    alone = loader(prepared).rows(epoch=3)
    parts = [loader(prepared, rank=rank, ranks=2).rows(epoch=3) for rank in range(2)]
    assert [first + second for first, second in zip(*parts, strict=True)] == alone
    assert sorted(row for rows in alone for row in rows) == list(range(24))
    assert alone != loader(prepared).rows(epoch=4)
    assert alone != loader(prepared, seed=2).rows(epoch=3)


def test_an_epoch_can_start_at_any_batch(prepared: Path) -> None:
    whole = list(loader(prepared).batches(epoch=1))
    rest = list(loader(prepared).batches(epoch=1, first=2))
    assert len(whole) == 3
    assert len(rest) == 1
    np.testing.assert_array_equal(rest[0][0], whole[2][0])
    for got, expected in zip(rest[0][1], whole[2][1], strict=True):
        assert torch.equal(got, expected)


def test_images_show_the_view_of_the_epoch_at_every_size(prepared: Path) -> None:
    given = loader(prepared)
    rows, (small, large) = next(given.batches(epoch=3))
    assert small.shape == (8, 24, 24, 3)
    assert large.shape == (8, 32, 32, 3)
    split, row = given.split, int(rows[5])
    for px, images in ((24, small), (32, large)):
        assert torch.equal(images[5], given.views.apply(split.pixels(px)[row], seed=5, row=row, view=1))


def test_fewer_images_than_a_batch_are_one_batch(prepared: Path) -> None:
    assert [len(rows) for rows in loader(prepared, batch_size=64).rows(0)] == [24]


def test_a_batch_that_cannot_be_shared_is_refused(prepared: Path) -> None:
    with pytest.raises(ValueError, match="batch_size: expected a multiple of the 3 processes, got 8"):
        loader(prepared, rank=0, ranks=3)


def test_an_epoch_without_a_step_is_refused(prepared: Path) -> None:
    assert loader(prepared).steps_per_epoch(2) == 1
    with pytest.raises(ValueError, match="accumulate: expected at most the 3 batches of an epoch, got 4"):
        loader(prepared).steps_per_epoch(4)


def numbered(count: int, read: list[int], thread: set[int]) -> Iterator[Batch]:
    for number in range(count):
        read.append(number)
        thread.add(threading.get_ident())
        yield np.array([number]), ()
    raise RuntimeError("disk")


def test_batches_are_read_ahead_in_a_thread() -> None:
    read: list[int] = []
    threads: set[int] = set()
    ahead = read_ahead(numbered(5, read, threads), 2)
    assert next(ahead)[0] == [0]
    ahead.close()  # waits for the thread
    assert read == [0, 1, 2]
    assert threads.isdisjoint({threading.get_ident()})


def test_an_error_of_reading_ahead_follows_the_batches_before_it() -> None:
    ahead = read_ahead(numbered(3, [], set()))
    assert [int(next(ahead)[0][0]) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(RuntimeError, match="disk"):
        next(ahead)
    assert list(read_ahead(iter(()))) == []


def test_cuda_reads_from_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    tensor, asked = torch.ones(2), []
    assert to_device(tensor, torch.device("cpu")) is tensor
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: asked.append("pinned") or self)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *where, **how: asked.append((where, how)))
    to_device(tensor, torch.device("cuda"))
    assert asked == ["pinned", ((torch.device("cuda"),), {"non_blocking": True})]


def test_processes_share_the_cores_of_their_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 32)
    assert [workers(cuda=True, ranks=ranks) for ranks in (1, 8, 64)] == [16, 3, 1]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert [workers(cuda=True, ranks=ranks) for ranks in (1, 8, 64)] == [16, 3, 3]
    assert workers(cuda=False, ranks=64) == 1


@dataclass(frozen=True)
class Deadly:
    """Kills the process that asks for a view, as the kernel does without memory."""

    count: int = 1

    def apply(self, pixels: NDArray[np.uint8], *, seed: int, row: int, view: int) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


@dataclass(frozen=True)
class Hanging:
    """Never returns, as on a disk that does not answer."""

    count: int = 1

    def apply(self, pixels: NDArray[np.uint8], *, seed: int, row: int, view: int) -> torch.Tensor:
        time.sleep(1000)
        raise AssertionError


@dataclass(frozen=True)
class Faulty:
    count: int = 1

    def apply(self, pixels: NDArray[np.uint8], *, seed: int, row: int, view: int) -> torch.Tensor:
        raise RuntimeError("no such view")


def test_a_dead_worker_is_an_error(prepared: Path) -> None:
    with pytest.raises(DeadWorkerError, match="expected the loading process to live, got: DataLoader worker"):
        next(loader(prepared, views=Deadly()).batches(epoch=0))


def test_a_worker_that_sends_nothing_is_an_error(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlkd.data.loader.HUNG_S", 0.5)
    before = set(multiprocessing.active_children())
    with pytest.raises(DeadWorkerError, match=r"expected a batch from the loading processes within 0\.5 s, got none"):
        next(loader(prepared, views=Hanging()).batches(epoch=0))
    assert set(multiprocessing.active_children()) == before


def test_a_slow_user_of_batches_is_no_hung_worker(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlkd.data.loader.HUNG_S", 0.4)
    batches = loader(prepared).batches(epoch=0)
    next(batches)
    time.sleep(0.8)
    assert len(list(batches)) > 0


def test_an_error_in_a_worker_has_its_cause(prepared: Path) -> None:
    with pytest.raises(RuntimeError, match="no such view"):
        next(loader(prepared, views=Faulty()).batches(epoch=0))
