"""What a device remembers of a bundle's engines: one small file for each bundle, machine and set of runtimes."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import math
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from export.backends import host
from export.bundle.bundle import MANIFEST
from mlkd.core.cache import OTHER_FOLDER, cache_root, private
from mlkd.core.files import write_file

log = logging.getLogger(__name__)


class NoCacheError(Exception):
    """Nothing can be remembered; the message says why."""


@dataclass
class Record:
    """How fast each engine is, why the others are not measured, and which are being tried."""

    built: list[str]  # engines that this device had built for itself by then: one more, and all are measured again
    rebuild: bool = False  # whether those that it could build were built
    p50_ms: dict[str, float] = field(default_factory=dict)
    lacking: dict[str, str] = field(default_factory=dict)
    tried: dict[str, int] = field(default_factory=dict)  # how often a trial began and the process ended in it
    when: str = ""  # date; empty until all have been tried
    shipped: bool = False  # whether the times are those of the bundle

    def __post_init__(self) -> None:
        """Raise TypeError for what `write` never writes."""
        good = isinstance(self.built, list) and all(isinstance(name, str) for name in self.built)
        good &= isinstance(self.rebuild, bool) and isinstance(self.when, str) and isinstance(self.shipped, bool)
        for found, kind in ((self.p50_ms, float), (self.lacking, str), (self.tried, int)):
            good &= isinstance(found, dict) and all(isinstance(value, kind) for value in found.values())
        if not good or not all(0 < ms < math.inf for ms in self.p50_ms.values()):
            raise TypeError("record: expected names, times, reasons and counts")


def file_of(folder: Path, threads: int | None) -> Path:
    """Where it lies for the bundle in `folder`, this machine and its runtimes; raises NoCacheError."""
    bound_to: dict[str, Any] = {
        "bundle": hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest(),
        "machine": host.identity(),
        "runtimes": host.installed(),
        "packages": [sys.prefix, os.environ.get("PYTHONPATH")],  # a broken runtime there says nothing of others
        "threads": threads,
    }
    name = hashlib.sha256(json.dumps(bound_to, sort_keys=True).encode()).hexdigest()[:16]
    with _told():
        return private(cache_root() / "fastest") / f"{name}.json"


def read(file: Path) -> Record | None:
    """What was written there; None if nothing was, or something else lies there."""
    try:
        return Record(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def write(file: Path, record: Record) -> None:
    """Replace it whole, whatever lies there; raises NoCacheError."""
    with _told():
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file)
        write_file(file, json.dumps(dataclasses.asdict(record)).encode())


@contextlib.contextmanager
def alone(file: Path) -> Iterator[None]:
    """One process measures and the others wait, so that no trial disturbs another; raises NoCacheError."""
    with contextlib.ExitStack() as stack:
        with _told(), contextlib.suppress(ImportError):  # Windows: two that measure at once are only slower
            import fcntl

            lock = stack.enter_context(file.with_name("lock").open("w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.info("another process times engines; waiting for its end")
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def trying(file: Path, record: Record, engine: str) -> Iterator[None]:
    """Counts the trial until it has ended, by an error too: what is counted in a file is of a process that died.

    To be used `alone`.
    """
    before = record.tried.pop(engine, 0)
    write(file, dataclasses.replace(record, tried={**record.tried, engine: before + 1}))
    try:
        yield
    finally:
        write(file, record)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as cause:
        reason = cause.strerror or str(cause)
        if OTHER_FOLDER not in reason:
            reason = f"{cause.filename or 'cache'}: expected a place to remember it, got: {reason}; {OTHER_FOLDER}"
        raise NoCacheError(reason) from cause
