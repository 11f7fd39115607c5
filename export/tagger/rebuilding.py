"""Engines that a device builds for itself from a bundle's graphs, in a cache of its own: whole or absent."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from export import stamp
from export.backends import Backend, EngineRefused, Session, TensorRt
from export.bundle import flush
from mlkd.cache import cache_root

SUMS = "sha256sums"
KEPT = "kept"  # what a builder leaves beside its engine, such as timings of kernels, for the next build


def for_this_device(backend: Backend) -> Backend:
    """The backend that builds here what `backend` was to run: TensorRT for the GPU that is there."""
    return dataclasses.replace(backend, compute_capability="device") if isinstance(backend, TensorRt) else backend


def place_of(graph: str, backend: Backend) -> Path:
    """Where the engines lie that `backend` built from the graph of this hash; one for each version and device."""
    fields = dataclasses.asdict(for_this_device(backend))
    fields.pop("threads", None)  # says how an engine runs, not how it is built
    return cache_root() / "engines" / _digest({"graph": graph, "backend": fields})


def has_some(place: Path) -> bool:
    """Whether anything was built there: whether it still runs, opening it shows."""
    return next(_builds(place), None) is not None


def open_built(place: Path, backend: Backend) -> Session | None:
    """A session of an engine in `place` that is whole and fits this machine; None if there is none."""
    for build in _builds(place):
        engine = _verified(build)
        if engine is not None:
            with contextlib.suppress(EngineRefused):  # of another version or device: it stays for that one
                return backend.open(engine)
    return None


def build(place: Path, backend: Backend, graph: Path) -> Session:
    """Like open_built, but compiles the engine if there is none; of several processes one builds and the others wait.

    Raises EngineRefused for a graph that the runtime does not take, OSError for a cache that cannot be written.
    """
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(place):
            session = open_built(place, backend)
            if session is not None:
                return session
            return backend.open(_build(place, backend, graph))
    except OSError as cause:
        got = cause.strerror or cause
        raise OSError(
            f"{place}: expected a folder that takes a rebuilt engine, got: {got}; "
            "make room there, or name another cache in XDG_CACHE_HOME"
        ) from cause


def _build(place: Path, backend: Backend, graph: Path) -> Path:
    partial, kept = place / ".partial", place.parent / KEPT
    shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
    kept.mkdir(exist_ok=True)
    shutil.copytree(kept, partial)
    engine = backend.compile(graph, partial)
    sums = [f"{stamp.hash_of(file)}  {file.name}\n" for file in backend.files(engine)]
    (partial / SUMS).write_text("".join(sums), encoding="utf-8")
    flush(partial)
    for file in set(partial.iterdir()) - {*backend.files(engine), partial / SUMS}:
        file.replace(kept / file.name)
    whole = place / _digest(dataclasses.asdict(stamp.read(engine)))
    shutil.rmtree(whole, ignore_errors=True)  # it was refused, or the build would not be needed
    partial.rename(whole)
    return whole / engine.name


def _builds(place: Path) -> Iterator[Path]:
    return (file.parent for file in sorted(place.glob(f"[!.]*/{SUMS}")))


def _verified(build: Path) -> Path | None:
    """The engine of a build whose files are as they were written."""
    sums = [line.split("  ", 1) for line in (build / SUMS).read_text(encoding="utf-8").splitlines()]
    try:
        whole = all(stamp.hash_of(build / name) == digest for digest, name in sums)
    except (OSError, ValueError):
        return None
    return build / sums[0][1] if whole and sums else None


@contextlib.contextmanager
def _alone(place: Path) -> Iterator[None]:
    import fcntl  # absent on Windows, where everything but a rebuild works

    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
