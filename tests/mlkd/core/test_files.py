"""A file has its old content or its new one, never a part of it."""

import errno
import hashlib
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from mlkd.core.files import BLOCK_BYTES, create_array, fsync, sha256_of, write_file


def full(*_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_write_replaces_the_file_and_leaves_no_other(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_file(file, b"old")
    write_file(file, "né\n")
    assert file.read_bytes() == b"n\xc3\xa9\n"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fails(_: int) -> None:
        raise error

    file = tmp_path / "file"
    write_file(file, b"old")
    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(type(error)):
        write_file(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_the_content_is_on_disk_before_the_name_and_the_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        sync(descriptor)
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink().suffix or "folder")

    def replaced(self: Path, target: Path) -> Path:
        done.append("replace")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    write_file(tmp_path / "file", b"content")
    assert done == [".partial", "replace", "folder"]


@pytest.mark.parametrize("other", ["process", "thread"])
def test_concurrent_writes_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str) -> None:
    file = tmp_path / "file"
    sync, pid, thread = os.fsync, os.getpid(), threading.get_ident()

    def meanwhile(descriptor: int) -> None:
        sync(descriptor)
        monkeypatch.setattr(os, "fsync", sync)
        if other == "process":
            monkeypatch.setattr(os, "getpid", lambda: pid + 1)
        else:
            monkeypatch.setattr(threading, "get_ident", lambda: thread + 1)
        write_file(file, b"of the other")
        assert file.read_bytes() == b"of the other"
        monkeypatch.undo()

    monkeypatch.setattr(os, "fsync", meanwhile)
    write_file(file, b"of the first")
    assert file.read_bytes() == b"of the first"
    assert list(tmp_path.iterdir()) == [file]


def test_only_a_folder_may_be_unable_to_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(os, "fsync", full)
    fsync(tmp_path)
    with pytest.raises(OSError, match="No space"):
        fsync(tmp_path / "file")


@pytest.mark.parametrize("size", [0, 5, BLOCK_BYTES, 2 * BLOCK_BYTES + 1])
def test_hash_of_a_file_of_any_size(tmp_path: Path, size: int) -> None:
    content = bytes(range(251)) * (size // 251 + 1)
    (tmp_path / "file").write_bytes(content[:size])
    assert sha256_of(tmp_path / "file") == hashlib.sha256(content[:size]).hexdigest()


def test_what_is_written_to_an_array_can_be_read(tmp_path: Path) -> None:
    mapped = create_array(tmp_path / "a.npy", np.float16, (3, 2))
    assert not mapped.any()
    mapped[1] = 1.5
    mapped.flush()
    read = np.load(tmp_path / "a.npy")
    assert (read.dtype, read.tolist()) == (np.float16, [[0, 0], [1.5, 1.5], [0, 0]])
    assert create_array(tmp_path / "empty.npy", np.uint8, (0, 4)).shape == (0, 4)


def test_the_disk_space_of_an_array_is_allocated_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_array(tmp_path / "a.npy", np.uint8, (1_000_000,))
    assert (tmp_path / "a.npy").stat().st_blocks * 512 >= 1_000_000
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        create_array(tmp_path / "b.npy", np.uint8, (10,))
