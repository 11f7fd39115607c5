"""Chooses the engine of a bundle to run on this machine, with the reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import get_args

from export.backends import Backend, TensorRt
from export.backends.host import usable_cores
from export.bundle.manifest import EngineEntry, Manifest
from export.errors import BundleError, NoEngineError
from export.tagger.opening import unavailable_reason

NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class EngineTimes:
    """Times of the engines of a bundle on this machine."""

    p50_ms: Mapping[str, float]
    unusable: Mapping[str, str] = field(default_factory=dict)  # reason by engine that could not be measured
    where: str  # "with the bundle", "here on 2026-11-23"
    checked: bool = True  # whether the scores of the measured engines were compared with the expected ones


@dataclass(frozen=True)
class Choice:
    """The chosen engine, its backend, the reason, and the reasons against the engines before it."""

    entry: EngineEntry
    backend: Backend
    why: str
    rejected: str = ""


def choose(
    manifest: Manifest,
    name: str | None = None,
    *,
    times: EngineTimes | None = None,
    threads: int | None = None,
    rebuild: bool = False,
    refused: Mapping[str, str] = NONE,
) -> Choice:
    """Choose the engine `name`, or the fastest one measured, or the first in the manifest that runs here.

    Args:
        manifest: Of the bundle.
        name: The engine to use.
        times: Of the engines on this machine.
        threads: Instead of the number in the manifest.
        rebuild: Whether engines that can be built on this device count as runnable; built ones always do.
        refused: Reasons by engine that has failed already.

    Raises:
        NoEngineError: No engine runs here; the message has the reasons.
        BundleError: The name or a backend is unknown.
    """
    entries = _ordered(manifest, times) if name is None else [manifest.engine(name)]
    if name is None and times is not None:
        refused = {**times.unusable, **refused}
    reasons: dict[str, str] = {}
    for entry in entries:
        backend = backend_of(entry, threads)
        reason = refused.get(entry.name) or unavailable_reason(manifest, entry, backend, rebuild=rebuild)
        if reason is None:
            return Choice(entry, backend, "requested" if name else _why(entry, times), "; ".join(by_reason(reasons)))
        reasons[entry.name] = reason
    raise NoEngineError(f"engine: expected one that runs on this machine, got {'; '.join(by_reason(reasons))}")


def by_reason(reasons: Mapping[str, str]) -> list[str]:
    """Group engines with the same reason: one text for each reason."""
    engines: dict[str, list[str]] = {}
    for engine, reason in reasons.items():
        engines.setdefault(reason, []).append(engine)
    return [f"{', '.join(names)}: {reason}" for reason, names in engines.items()]


def backend_of(entry: EngineEntry, threads: int | None = None) -> Backend:
    """Create the backend's dataclass from the manifest; raises BundleError for an unknown kind or field.

    Without `threads`, the number in the manifest is limited to the cores that this process can use.
    """
    arguments = dict(entry.backend)
    kinds: dict[str, type[Backend]] = {backend.kind: backend for backend in get_args(Backend)}
    kind = arguments.get("kind")
    if kind not in kinds:
        raise BundleError(f"engine {entry.name}: backend: expected one of {', '.join(kinds)}, got {kind!r}")
    fields = {field.name for field in dataclasses.fields(kinds[kind])}
    if threads is not None and "threads" in fields:
        arguments["threads"] = threads
    unknown = sorted(arguments.keys() - fields)
    if unknown:
        raise BundleError(f"engine {entry.name}: backend {kind}: expected {sorted(fields)}, got also {unknown}")
    try:
        backend: Backend = kinds[kind](**arguments)
        if threads is None and not isinstance(backend, TensorRt):
            backend = dataclasses.replace(backend, threads=min(backend.threads, usable_cores()))
    except TypeError:
        raise BundleError(
            f"engine {entry.name}: backend {kind}: expected values of their types, got {arguments}; export again"
        ) from None
    except ValueError as cause:
        raise BundleError(f"engine {entry.name}: backend: {cause}; export the bundle again") from None
    return backend


def _ordered(manifest: Manifest, times: EngineTimes | None) -> list[EngineEntry]:
    """Fastest first, after those known to be unusable, whose reasons are then reported; else as listed."""
    if times is None:
        return list(manifest.engines)
    ms = {**times.p50_ms, **dict.fromkeys(times.unusable, 0.0)}
    return sorted(manifest.engines, key=lambda entry: ms.get(entry.name, float("inf")))


def _why(entry: EngineEntry, times: EngineTimes | None) -> str:
    if times is not None and entry.name in times.p50_ms:
        machine = "on this machine" if times.checked else "on a machine like this"
        return f"the fastest {machine}, {times.p50_ms[entry.name]:.2f} ms measured {times.where}"
    return "the first in the bundle's order that runs here"
