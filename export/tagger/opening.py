"""Opens an engine of a bundle: the bundle's file, else the one that this device built from the same graph."""

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
    """Open the bundle's engine; if it is foreign, stale or not built yet, the one built on this device.

    The bundle must be verified; it is only read.  With `rebuild`, the engine is built now if necessary.

    Raises:
        EngineError: The engine cannot be opened or built.
        MissingRuntimeError: Its runtime or device is not available here.
        OSError: The cache has no room for a new engine.
    """
    own = for_this_device(backend)
    refusal: EngineError | MissingRuntimeError
    try:
        return _open_in_bundle(folder, manifest, entry, backend)
    except EngineError as cause:
        refusal = cause
    except MissingRuntimeError as cause:
        if own == backend:
            raise
        refusal = cause
    reason = own.unavailable_reason()
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


def unavailable_reason(
    manifest: Manifest, entry: EngineEntry, backend: Backend, *, rebuild: bool = False
) -> str | None:
    """Say why the engine cannot be opened here, as far as that is known without opening it; None if it can."""
    reason = backend.unavailable_reason()
    own = for_this_device(backend)
    if reason is None or own.unavailable_reason() is not None:
        return reason
    return None if rebuild or built_here(manifest, entry, backend) else f"{reason}; {OFFER}"


def built_here(manifest: Manifest, entry: EngineEntry, backend: Backend) -> list[str]:
    """Names of the engines that this device has built, some of which may not open any more."""
    key = key_of(manifest.files[entry.graph].sha256, entry.precision, backend)
    return [f"{key}/{folder.name}" for folder in builds(key)]


def _open_in_bundle(folder: Path, manifest: Manifest, entry: EngineEntry, backend: Backend) -> Session:
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
    """Raise EngineError if the bundle's graph has another precision than the engine, as with NNCF."""
    precision = stamp.precision_of(folder / entry.graph)
    if precision == entry.precision:
        return
    others = [e.name for e in manifest.engines if e.precision != entry.precision and e.backend == entry.backend]
    instead = ", ".join(others) or "another engine"
    raise EngineError(
        f"{refusal}; it cannot be rebuilt here: expected a graph of {entry.precision} in the bundle, "
        f"got {entry.graph} of {precision}; take {instead}, or export the bundle again"
    ) from refusal
