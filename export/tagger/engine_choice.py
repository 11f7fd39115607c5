"""Which engine of a bundle to run here, and why."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, get_args

from export.backends import Backend, TensorRt
from export.backends.host import usable_cores
from export.bundle.manifest import EngineEntry, Manifest
from export.errors import BundleError, NoEngineError
from export.tagger.opening import lacks

NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Measured:
    """How fast the engines of a bundle are on this machine."""

    p50_ms: Mapping[str, float]
    lacking: Mapping[str, str] = field(default_factory=dict)  # those that could not be measured, with the reason
    where: str  # "with the bundle", "here on 2026-11-23"
    checked: bool = True  # whether the scores of those that are measured were as expected here


@dataclass(frozen=True)
class Choice:
    """The engine that was chosen, its backend, the reason in words, and why others were passed over."""

    entry: EngineEntry
    backend: Backend
    why: str
    passed: str = ""


def choose(
    manifest: Manifest,
    name: str | None = None,
    *,
    measured: Measured | None = None,
    threads: int | None = None,
    rebuild: bool = False,
    refused: Mapping[str, str] = NONE,
) -> Choice:
    """The engine `name`, or the fastest that was measured, or the first in the manifest that runs here.

    `threads` replaces the number in the manifest where a backend has one.  One that was built on this device runs
    here, with `rebuild` also one that can be; `refused` are tried already, with the reason.  Raises NoEngineError, or
    BundleError for an unknown name or backend.
    """
    entries = _ordered(manifest, measured) if name is None else [manifest.engine(name)]
    if name is None and measured is not None:
        refused = {**measured.lacking, **refused}
    lacking: dict[str, str] = {}
    for entry in entries:
        backend = backend_of(entry, threads)
        reason = refused.get(entry.name) or lacks(manifest, entry, backend, rebuild=rebuild)
        if reason is None:
            return Choice(entry, backend, "asked for" if name else _why(entry, measured), "; ".join(by_reason(lacking)))
        lacking[entry.name] = reason
    raise NoEngineError(f"engine: expected one that runs on this machine, got {'; '.join(by_reason(lacking))}")


def by_reason(lacking: Mapping[str, str]) -> list[str]:
    """Engines and what they lack, each reason once."""
    reasons: dict[str, list[str]] = {}
    for engine, reason in lacking.items():
        reasons.setdefault(reason, []).append(engine)
    return [f"{', '.join(engines)}: {reason}" for reason, engines in reasons.items()]


def backend_of(entry: EngineEntry, threads: int | None = None) -> Backend:
    """Rebuild the backend's dataclass from the manifest; raises BundleError for an unknown kind or field.

    Threads that are not named are no more than this process can keep busy.
    """
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
    try:
        backend: Backend = kinds[kind](**arguments)
        if threads is None and not isinstance(backend, TensorRt):
            backend = dataclasses.replace(backend, threads=min(backend.threads, usable_cores()))
    except (TypeError, ValueError) as cause:
        raise BundleError(f"engine {entry.name}: backend: {cause}; export the bundle again") from None
    return backend


def _kind(backend: Any) -> str:
    return str(next(field.default for field in dataclasses.fields(backend) if field.name == "kind"))


def _ordered(manifest: Manifest, measured: Measured | None) -> list[EngineEntry]:
    """Those that are known not to run, so that the reason is told, then the fastest first; else as listed."""
    if measured is None:
        return list(manifest.engines)
    times = {**measured.p50_ms, **dict.fromkeys(measured.lacking, 0.0)}
    return sorted(manifest.engines, key=lambda entry: times.get(entry.name, float("inf")))


def _why(entry: EngineEntry, measured: Measured | None) -> str:
    if measured is not None and entry.name in measured.p50_ms:
        machine = "on this machine" if measured.checked else "on a machine like this"
        return f"the fastest {machine}, {measured.p50_ms[entry.name]:.2f} ms measured {measured.where}"
    return "the first in the bundle's order that runs here"
