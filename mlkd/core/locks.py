"""Locks between processes: on a file, which may be on a disk that machines share; they end with the process."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Wait until no other process has locked the file, and lock it."""
    with file.open("a") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(opened, fcntl.LOCK_UN)  # a child that loads images may keep the file open


@contextmanager
def claimed(file: Path) -> Iterator[bool]:
    """Lock the file unless another process has; yields whether this one has it."""
    with file.open("a") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.flock(opened, fcntl.LOCK_UN)
