"""A file has its old content or its new one, never a part of it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from mlkd.core import files


def test_replaces_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "file"
    files.write(file, b"old")
    files.write(file, b"new")
    assert file.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [file]


def test_a_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    files.write(file, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("other", ["process", "thread"])
def test_two_that_write_at_once_do_not_tear_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    file = tmp_path / "file"
    sync, pid, thread = os.fsync, os.getpid(), threading.get_ident()

    def meanwhile(descriptor: int) -> None:
        sync(descriptor)
        monkeypatch.setattr(os, "fsync", sync)
        if other == "process":
            monkeypatch.setattr(os, "getpid", lambda: pid + 1)
        else:
            monkeypatch.setattr(threading, "get_ident", lambda: thread + 1)
        files.write(file, b"of the other")
        assert file.read_bytes() == b"of the other"
        monkeypatch.undo()

    monkeypatch.setattr(os, "fsync", meanwhile)
    files.write(file, b"of the first")
    assert file.read_bytes() == b"of the first"
    assert list(tmp_path.iterdir()) == [file]
