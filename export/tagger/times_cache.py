"""Caches the times of a bundle's engines: one small file for each bundle, machine and set of runtimes."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from export.backends import host
from export.bundle.manifest import MANIFEST
from export.tagger.lock import locked
from mlkd.core.cache import OTHER_FOLDER, cache_root, private
from mlkd.core.files import write_file


class NoCacheError(Exception):
    """The cache cannot be used; the message says why."""


@dataclass
class Record:
    """Times of the engines, and the reasons why others are not measured."""

    built: list[str]  # engines that this device had built by then; with another one all are measured again
    rebuild: bool = False  # whether engines were built on this device where necessary
    p50_ms: dict[str, float] = field(default_factory=dict)
    unusable: dict[str, str] = field(default_factory=dict)  # reason by engine
    crashes: dict[str, int] = field(default_factory=dict)  # how often an engine ended the process
    when: str = ""  # date; empty until all engines are measured
    from_bundle: bool = False  # whether the times are those in the bundle

    def __post_init__(self) -> None:
        """Raise TypeError for content that `write` does not write."""
        valid = isinstance(self.built, list) and all(isinstance(name, str) for name in self.built)
        valid &= isinstance(self.rebuild, bool) and isinstance(self.when, str) and isinstance(self.from_bundle, bool)
        for values, kind in ((self.p50_ms, float), (self.unusable, str), (self.crashes, int)):
            valid &= isinstance(values, dict) and all(isinstance(value, kind) for value in values.values())
        if not valid or not all(0 < ms < math.inf for ms in self.p50_ms.values()):
            raise TypeError("record: expected names, times, reasons and counts")


def file_of(folder: Path, threads: int | None) -> Path:
    """The file for the bundle in `folder`, this machine and its runtimes; raises NoCacheError."""
    depends_on: dict[str, Any] = {
        "bundle": hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest(),
        "machine": host.identity(),
        "runtimes": host.installed(),
        "packages": [sys.prefix, os.environ.get("PYTHONPATH")],  # another environment may have other runtimes
        "threads": threads,
    }
    name = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()[:16]
    with _no_cache_errors():
        return private(cache_root() / "fastest") / f"{name}.json"


def read(file: Path) -> Record | None:
    """The record; None if there is none, or the file has other content."""
    try:
        return Record(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def write(file: Path, record: Record) -> None:
    """Replace the file atomically; raises NoCacheError."""
    with _no_cache_errors():
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file)
        write_file(file, json.dumps(dataclasses.asdict(record)).encode())


@contextlib.contextmanager
def exclusive(file: Path) -> Iterator[None]:
    """Let one process measure while others wait; raises NoCacheError."""
    with contextlib.ExitStack() as stack:
        with _no_cache_errors(), contextlib.suppress(ImportError):  # Windows: measuring at the same time is only slower
            stack.enter_context(locked(file.with_name("lock"), "another process times the engines; waiting for it"))
        yield


@contextlib.contextmanager
def counting_crashes(file: Path, record: Record, engine: str) -> Iterator[None]:
    """Count a crash of `engine` in the file until the block ends, by an error too: only a dead process leaves it.

    Requires `exclusive`.
    """
    before = record.crashes.pop(engine, 0)
    write(file, dataclasses.replace(record, crashes={**record.crashes, engine: before + 1}))
    try:
        yield
    finally:
        write(file, record)


@contextlib.contextmanager
def _no_cache_errors() -> Iterator[None]:
    try:
        yield
    except OSError as cause:
        reason = cause.strerror or str(cause)
        if OTHER_FOLDER not in reason:
            reason = f"{cause.filename or 'cache'}: expected a writable cache, got: {reason}; {OTHER_FOLDER}"
        raise NoCacheError(reason) from cause
