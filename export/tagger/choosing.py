"""Which engine of a bundle to run here, and why."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, get_args

from export.backends import Backend
from export.manifest import BundleError, EngineEntry, Manifest
from export.tagger.opening import lacks

NONE: Mapping[str, str] = MappingProxyType({})


class NoEngineError(ValueError):
    """No engine of the bundle, or not the one asked for, can run here; the message says what each of them lacks."""


@dataclass(frozen=True)
class Choice:
    """The engine that was chosen, its backend, and the reason in words."""

    entry: EngineEntry
    backend: Backend
    why: str


def choose(
    manifest: Manifest,
    name: str | None = None,
    *,
    machine: dict[str, Any] | None = None,
    threads: int | None = None,
    rebuild: bool = False,
    refused: Mapping[str, str] = NONE,
) -> Choice:
    """The engine `name`, or the fastest that was measured on `machine`, or the first in the manifest that runs here.

    `machine` is benchmarks.machine.identity(); `threads` replaces the number in the manifest where a backend has one.
    One that was built on this device runs here, with `rebuild` also one that can be; `refused` are tried already, with
    the reason.  Raises NoEngineError, or BundleError for an unknown name or backend.
    """
    entries = ordered(manifest, machine) if name is None else [manifest.engine(name)]
    lacking: dict[str, str] = {}
    for entry in entries:
        backend = backend_of(entry, threads)
        reason = refused.get(entry.name) or lacks(manifest, entry, backend, rebuild=rebuild)
        if reason is None:
            return Choice(entry, backend, "asked for" if name else _why(manifest, entry, machine, lacking))
        lacking[entry.name] = reason
    listed = "; ".join(f"{engine}: {reason}" for engine, reason in lacking.items())
    raise NoEngineError(f"engine: expected one that runs on this machine, got {listed}")


def ordered(manifest: Manifest, machine: dict[str, Any] | None) -> list[EngineEntry]:
    """Engines fastest first, if they were measured on an equal machine; else as listed."""
    if machine is None or manifest.measured_on != machine:
        return list(manifest.engines)
    return sorted(manifest.engines, key=lambda entry: float("inf") if entry.p50_ms is None else entry.p50_ms)


def backend_of(entry: EngineEntry, threads: int | None = None) -> Backend:
    """Rebuild the backend's dataclass from the manifest; raises BundleError for an unknown kind or field."""
    arguments = dict(entry.backend)
    kinds = {_kind(backend): backend for backend in get_args(Backend)}
    kind = arguments.get("kind")
    if kind not in kinds:
        raise BundleError(f"engine {entry.name}: backend: expected one of {', '.join(kinds)}, got {kind!r}")
    fields = {field.name for field in dataclasses.fields(kinds[kind])}
    if threads is not None and "threads" in fields:
        arguments["threads"] = threads
    unknown = sorted(arguments.keys() - fields)
    if unknown:
        raise BundleError(f"engine {entry.name}: backend {kind}: expected {sorted(fields)}, got also {unknown}")
    backend: Backend = kinds[kind](**arguments)
    return backend


def _kind(backend: Any) -> str:
    return str(next(field.default for field in dataclasses.fields(backend) if field.name == "kind"))


def _why(manifest: Manifest, entry: EngineEntry, machine: dict[str, Any] | None, lacking: dict[str, str]) -> str:
    passed = "".join(f"; not {engine}: {reason}" for engine, reason in lacking.items())
    if entry.p50_ms is not None and manifest.measured_on == machine:
        return f"the fastest measured on this machine, {entry.p50_ms:.2f} ms{passed}"
    return f"the first in the bundle's order that runs here{passed}"
