"""Engines that a device builds for itself from a bundle's graphs, in a cache of its own: whole or absent."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import logging
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from export.backends import Backend, Session, TensorRt, stamp
from export.bundle.bundle import flush
from export.errors import EngineError, MissingRuntimeError
from mlkd.core.cache import OTHER_FOLDER, cache_root, private
from mlkd.core.files import sha256_of

log = logging.getLogger(__name__)

SUMS = "sha256sums"


def for_this_device(backend: Backend) -> Backend:
    """The backend that builds here what `backend` was to run: TensorRT for the GPU that is there."""
    return dataclasses.replace(backend, compute_capability="device") if isinstance(backend, TensorRt) else backend


def key_of(graph: str, precision: str, backend: Backend) -> str:
    """Names the engines of this precision that `backend` built from the graph of this hash."""
    fields = dataclasses.asdict(for_this_device(backend))
    fields.pop("threads", None)  # says how an engine runs, not how it is built
    return _digest({"graph": graph, "precision": precision, "backend": fields})


def builds(key: str) -> list[Path]:
    """Folders of what was built: whether it still runs, opening it shows.  None, with a warning, in a broken cache."""
    try:
        place = _place(key)
        return [file.parent for file in sorted(private(place).glob(f"[!.]*/{SUMS}"))] if place.is_dir() else []
    except OSError as cause:
        log.warning("engines built on this device are passed over: %s", cause.strerror or cause)
        return []


def open_built(key: str, backend: Backend) -> Session | None:
    """A session of an engine that was built here, is whole and fits this machine; None if there is none."""
    for folder in builds(key):
        engine = _verified(folder)
        if engine is not None:
            with contextlib.suppress(EngineError):  # of another version or device: it stays for that one
                return backend.open(engine)
    return None


def build(key: str, backend: Backend, graph: Path) -> Session:
    """Like open_built, but compiles the engine if there is none; of several processes one builds and the others wait.

    Raises EngineError for a graph that the runtime does not take, MissingRuntimeError on a system that cannot lock
    files, OSError for a cache that cannot be written.
    """
    place = _place(key)
    with _alone(place):
        session = open_built(key, backend)
        return backend.open(_build(place, backend, graph)) if session is None else session


def _build(place: Path, backend: Backend, graph: Path) -> Path:
    partial = place / ".partial"
    shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
    try:
        with _named(place):
            engine = backend.compile(graph, partial)
            sums = [f"{sha256_of(file)}  {file.name}\n" for file in backend.files(engine)]
            (partial / SUMS).write_text("".join(sums), encoding="utf-8")
            flush(partial)
            whole = place / _digest(dataclasses.asdict(stamp.read(engine)))
            shutil.rmtree(whole, ignore_errors=True)  # it was refused, or the build would not be needed
            partial.rename(whole)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return whole / engine.name


def _place(key: str) -> Path:
    return cache_root() / "engines" / key


def _verified(build: Path) -> Path | None:
    """The engine of a build whose files are as they were written."""
    try:
        sums = [line.split("  ", 1) for line in (build / SUMS).read_text(encoding="utf-8").splitlines()]
        whole = all(sha256_of(build / name) == digest for digest, name in sums)
    except (OSError, ValueError):
        return None
    return build / sums[0][1] if whole and sums else None


@contextlib.contextmanager
def _alone(place: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError as cause:
        raise MissingRuntimeError(
            f"rebuilding: expected a system that locks files with fcntl (Linux, macOS), got {platform.system()}; "
            "take an engine that runs as shipped, or export the bundle for this device"
        ) from cause
    with contextlib.ExitStack() as stack:
        with _named(place):
            lock = stack.enter_context((private(place) / "lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _named(place: Path) -> Iterator[None]:
    """An OSError of the same errno that says which cache it is and what to do."""
    try:
        yield
    except OSError as cause:
        raise OSError(
            cause.errno or errno.EIO,
            f"{place}: expected a folder that takes a rebuilt engine, got: {cause.strerror or cause}; "
            f"make room there, or {OTHER_FOLDER}",
        ) from cause


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
