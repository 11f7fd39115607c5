"""A file has its old content or its new one, never a part of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlkd import whole_file


def test_replaces_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "file"
    whole_file.write(file, b"old")
    whole_file.write(file, b"new")
    assert file.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [file]


def test_a_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    whole_file.write(file, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        whole_file.write(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]
