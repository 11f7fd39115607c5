from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from mlkd.core import memory_map


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    mapped = memory_map.create(tmp_path / "a.npy", np.float16, (3, 2))
    assert not mapped.any()
    mapped[1] = 1.5
    mapped.flush()
    read = np.load(tmp_path / "a.npy")
    assert (read.dtype, read.tolist()) == (np.float16, [[0, 0], [1.5, 1.5], [0, 0]])


def test_its_room_is_taken_at_once(tmp_path: Path) -> None:
    memory_map.create(tmp_path / "a.npy", np.uint8, (1_000_000,))
    assert (tmp_path / "a.npy").stat().st_blocks * 512 >= 1_000_000


def test_a_full_disk_is_an_error_not_a_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        memory_map.create(tmp_path / "a.npy", np.uint8, (10,))


def test_empty(tmp_path: Path) -> None:
    assert memory_map.create(tmp_path / "a.npy", np.uint8, (0, 4)).shape == (0, 4)
