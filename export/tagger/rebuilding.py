"""Builds engines from a bundle's graphs on the device, into its cache; a build is whole or absent."""

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
from export.tagger.lock import locked
from mlkd.core.cache import OTHER_FOLDER, cache_root, private
from mlkd.core.files import sha256_of

log = logging.getLogger(__name__)

SUMS = "sha256sums"


def for_this_device(backend: Backend) -> Backend:
    """The backend that builds the engine here; TensorRT builds for the GPU of this machine."""
    return dataclasses.replace(backend, compute_capability="device") if isinstance(backend, TensorRt) else backend


def key_of(graph: str, precision: str, backend: Backend) -> str:
    """Key in the cache for the engines of this precision that `backend` builds from the graph with this hash."""
    fields = dataclasses.asdict(for_this_device(backend))
    fields.pop("threads", None)  # affects how an engine runs, not how it is built
    return _digest({"graph": graph, "precision": precision, "backend": fields})


def builds(key: str) -> list[Path]:
    """Folders of the builds for a key, some of which may not open any more; empty, with a warning, without a cache."""
    try:
        place = _place(key)
        return [file.parent for file in sorted(private(place).glob(f"[!.]*/{SUMS}"))] if place.is_dir() else []
    except OSError as cause:
        log.warning("engines built on this device are ignored: %s", cause.strerror or cause)
        return []


def open_built(key: str, backend: Backend) -> Session | None:
    """Open an engine that was built here, is undamaged and fits this machine; None if there is none."""
    for folder in builds(key):
        engine = _verified(folder)
        if engine is not None:
            with contextlib.suppress(EngineError):  # of another version or device, which may use it again
                return backend.open(engine)
    return None


def build(key: str, backend: Backend, graph: Path) -> Session:
    """Open an engine that was built here, building it if necessary; of several processes one builds, the others wait.

    Raises EngineError if the runtime refuses the graph, MissingRuntimeError if the system cannot lock files, OSError if
    the cache cannot be written.
    """
    place = _place(key)
    with _exclusive(place):
        session = open_built(key, backend)
        return backend.open(_build(place, backend, graph)) if session is None else session


def _build(place: Path, backend: Backend, graph: Path) -> Path:
    partial = place / ".partial"
    shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
    try:
        with _cache_errors(place):
            engine = backend.compile(graph, partial)
            sums = [f"{sha256_of(file)}  {file.name}\n" for file in backend.files(engine)]
            (partial / SUMS).write_text("".join(sums), encoding="utf-8")
            flush(partial)
            whole = place / _digest(dataclasses.asdict(stamp.read(engine)))
            shutil.rmtree(whole, ignore_errors=True)  # an engine that could not be opened
            partial.rename(whole)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return whole / engine.name


def _place(key: str) -> Path:
    return cache_root() / "engines" / key


def _verified(build: Path) -> Path | None:
    """The engine of a build; None if a file is damaged."""
    try:
        sums = [line.split("  ", 1) for line in (build / SUMS).read_text(encoding="utf-8").splitlines()]
        is_whole = all(sha256_of(build / name) == digest for digest, name in sums)
    except (OSError, ValueError):
        return None
    return build / sums[0][1] if is_whole and sums else None


@contextlib.contextmanager
def _exclusive(place: Path) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            with _cache_errors(place):
                stack.enter_context(
                    locked(private(place) / "lock", "another process builds the engine; waiting for it")
                )
        except ImportError as cause:
            raise MissingRuntimeError(
                f"rebuilding: expected a system that locks files with fcntl (Linux, macOS), got {platform.system()}; "
                "use an engine that runs without a rebuild, or export the bundle for this device"
            ) from cause
        yield


@contextlib.contextmanager
def _cache_errors(place: Path) -> Iterator[None]:
    """Raise an OSError of the same errno that names the cache and says what to do."""
    try:
        yield
    except OSError as cause:
        raise OSError(
            cause.errno or errno.EIO,
            f"{place}: expected a writable folder for a rebuilt engine, got: {cause.strerror or cause}; "
            f"free some space, or {OTHER_FOLDER}",
        ) from cause


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
