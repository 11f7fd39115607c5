"""One row an engine: what is known of it, what was measured, or why it was not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from benchmarks import timing
from benchmarks.accuracy import Truth, accuracy
from export.manifest import EngineEntry, Manifest

PARTS = ("decode", "resize", "infer", "post")
MEASURED = (
    "load_ms", "first_ms", "end_to_end_ms", "engine_ms", "parts_ms", "images_per_second_batch8", "peak_rss_mb",
    "spread", "unstable", "settled", "map", "map_low", "map_high", "delta_map", "map_major", "map_minor", "cf1", "of1",
    "operating_points", "ap", "provider", "compute", "placed", "pinned",
    "built_here", "reason",
)  # fmt: skip


def facts(manifest: Manifest, entry: EngineEntry, threads: int) -> dict[str, Any]:
    """What is known of an engine without running it, and None for every field that measuring fills."""
    return dict.fromkeys(MEASURED) | {
        "name": entry.name,
        "kind": "engine",
        "model": "student",
        "runtime": str(entry.backend["kind"]),
        "precision": entry.precision,
        "threads": threads,
        "file": entry.file,
        "sha256": manifest.files[entry.file].sha256,
        "bytes": sum(manifest.files[path].bytes for path in entry.files),
    }


def outcome(
    timed: list[dict[str, Any]] | str,
    scored: dict[str, Any],
    scores: Path,
    truth: Truth,
    thresholds: ArrayLike,
    *,
    replicates: int,
    seed: int,
) -> dict[str, Any]:
    """Status and numbers from the timed processes (or their error) and the file of scores (N, L)."""
    reason = timed if isinstance(timed, str) else scored["error"]
    if isinstance(timed, str) or reason:
        return {"status": "failed", "reason": reason}
    quality = accuracy(np.load(scores), truth, thresholds, replicates=replicates, seed=seed)
    return {"status": "measured", **latency(timed), **quality}


def latency(processes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The latency fields of a row from what the fresh processes of one engine printed."""
    ran = processes[0]["ran"]
    between = timing.spread([float(np.median(process["samples"]["end_to_end_ms"])) for process in processes])
    rss = [process["peak_rss_mb"] for process in processes if process["peak_rss_mb"] is not None]
    return {
        "runtime": ran["version"],
        "built_here": any(process["built_here"] for process in processes),
        "sha256": processes[0]["sha256"],
        "bytes": processes[0]["bytes"],
        "provider": ran["provider"],
        "compute": ran["compute"],
        "placed": ran["placed"],
        "pinned": processes[0]["pinned"],
        "load_ms": _median(process["load_ms"] for process in processes),
        "first_ms": _median(process["first_ms"] for process in processes),
        "end_to_end_ms": timing.summary(_pool(processes, "end_to_end_ms")),
        "engine_ms": timing.summary(_pool(processes, "engine_ms")),
        "parts_ms": {part: _median(_pool(processes, f"{part}_ms")) for part in PARTS},
        "images_per_second_batch8": _median(process["images_per_second"] for process in processes),
        "peak_rss_mb": max(rss, default=None),
        "spread": between,
        "unstable": between > timing.UNSTABLE,
        "settled": all(process["settled"] for process in processes),
    }


def _pool(processes: Sequence[dict[str, Any]], name: str) -> list[float]:
    return [sample for process in processes for sample in process["samples"][name]]


def _median(values: Iterable[float]) -> float:
    return float(np.median(list(values)))
