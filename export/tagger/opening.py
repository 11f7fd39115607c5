"""Opening one engine of a bundle: as it was shipped, else as this device built it from the same graph."""

from __future__ import annotations

from pathlib import Path

from export.backends import Backend, Session, stamp
from export.bundle.manifest import EngineEntry, Manifest
from export.errors import EngineError, MissingRuntimeError
from export.tagger.rebuilding import build, builds, for_this_device, key_of, open_built

OFFER = "`info --rebuild` or `tag --rebuild` builds it on this device"


def open_engine(
    folder: Path, manifest: Manifest, entry: EngineEntry, backend: Backend, *, rebuild: bool = False
) -> Session:
    """The engine as shipped; one that is foreign, stale or not built yet as built here, now if `rebuild` says so.

    The bundle, verified before, is only read.  Raises EngineError, MissingRuntimeError, or OSError if the cache cannot
    take a new engine.
    """
    own = for_this_device(backend)
    refusal: EngineError | MissingRuntimeError
    try:
        return _open_shipped(folder, manifest, entry, backend)
    except EngineError as cause:
        refusal = cause
    except MissingRuntimeError as cause:
        if own == backend:
            raise
        refusal = cause
    reason = own.missing()
    if reason is not None:
        raise MissingRuntimeError(reason) from refusal
    _check_graph(folder, manifest, entry, refusal)
    key = key_of(manifest.files[entry.graph].sha256, entry.precision, own)
    session = open_built(key, own)
    if session is not None:
        return session
    if not rebuild:
        raise EngineError(f"{refusal}; {OFFER}") from refusal
    return build(key, own, folder / entry.graph)


def lacks(manifest: Manifest, entry: EngineEntry, backend: Backend, *, rebuild: bool = False) -> str | None:
    """Why the engine cannot be opened here, as far as that can be said without trying."""
    reason = backend.missing()
    own = for_this_device(backend)
    if reason is None or own.missing() is not None:
        return reason
    return None if rebuild or built_here(manifest, entry, backend) else f"{reason}; {OFFER}"


def built_here(manifest: Manifest, entry: EngineEntry, backend: Backend) -> list[str]:
    """Names of the engines that this device built for itself: whether one still runs, opening it shows."""
    key = key_of(manifest.files[entry.graph].sha256, entry.precision, backend)
    return [f"{key}/{folder.name}" for folder in builds(key)]


def _open_shipped(folder: Path, manifest: Manifest, entry: EngineEntry, backend: Backend) -> Session:
    if entry.files == (entry.graph,):
        raise EngineError(f"engine {entry.name}: expected one built for this device, got its graph {entry.graph}")
    got, expected = stamp.read(folder / entry.file).graph, manifest.files[entry.graph].sha256
    if got != expected:
        raise EngineError(
            f"engine {entry.name}: expected one built from {entry.graph}, {expected[:12]}…, "
            f"got a stale one, built from {got[:12]}…; export the bundle again"
        )
    return backend.open(folder / entry.file)


def _check_graph(folder: Path, manifest: Manifest, entry: EngineEntry, refusal: Exception) -> None:
    """EngineError if the bundle's graph is not of the engine's precision: NNCF made that from it."""
    precision = stamp.precision_of(folder / entry.graph)
    if precision == entry.precision:
        return
    others = [e.name for e in manifest.engines if e.precision != entry.precision and e.backend == entry.backend]
    instead = ", ".join(others) or "another engine"
    raise EngineError(
        f"{refusal}; it cannot be rebuilt here: expected a graph of {entry.precision} in the bundle, "
        f"got {entry.graph} of {precision}; take {instead}, or export the bundle again"
    ) from refusal
