"""One row an engine and device: what is known of it, what was measured, or why it was not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmarks import output_check
from benchmarks.accuracy import Truth, accuracy
from benchmarks.device import timing
from benchmarks.output_check import PARTS
from export.bundle.manifest import EngineEntry, Manifest

ROW = (
    "name", "device", "kind", "model", "runtime", "precision", "threads", "file", "sha256", "bytes", "status", "reason",
    "end_to_end_ms", "engine_ms", "parts_ms", "histogram", "process_p50_ms", "queries", "spread", "unstable", "settled",
    "load_ms", "first_ms", "peak_rss_mb", "gpu_memory_mb", "energy", "clock_mhz", "temperature_c", "throughput",
    "sustained", "map", "map_low", "map_high", "delta_map", "delta_low", "delta_high", "flipped", "worst_labels",
    "map_from", "map_major", "map_minor", "cf1", "of1", "operating_points", "ap", "provider", "compute", "placed",
    "pinned", "built_here",
)  # fmt: skip


def facts(
    manifest: Manifest,
    entry: EngineEntry,
    *,
    device: str,
    model: str = "student",
    kind: Literal["engine", "reference"] | str = "engine",
    threads: int | None = None,
) -> dict[str, Any]:
    """A row with what is known of an engine without running it, and None for every field that measuring fills."""
    return dict.fromkeys(ROW) | {
        "name": entry.name,
        "device": device,
        "kind": kind,
        "model": model,
        "runtime": str(entry.backend["kind"]),
        "precision": entry.precision,
        "threads": threads,
        "file": entry.file,
        "sha256": manifest.files[entry.file].sha256,
        "bytes": sum(manifest.files[path].bytes for path in entry.files),
    }


def outcome(
    timed: Sequence[Any] | str,
    scored: Any,
    scores: Path,
    truth: Truth,
    thresholds: ArrayLike,
    *,
    labels: Sequence[str],
    map_from: dict[str, str],
    float_scores: NDArray[np.float32] | None = None,
    float_thresholds: ArrayLike | None = None,
) -> dict[str, Any]:
    """Status and numbers from what the timed processes printed (or their error) and the file of scores (N, L).

    `scored` is what `scores` printed of this engine, `map_from` the device and instruction set that it printed it on.
    What is not as it must be makes a failed row that says so.
    """
    try:
        if isinstance(timed, str):
            raise ValueError(timed)
        measured = latency(timed)
        told = output_check.scores(scored)
        if told["error"] is not None:
            raise ValueError(told["error"])
        if told["sha256"] != measured["sha256"]:
            raise ValueError(
                f"scores: expected those of the file that was timed, {measured['sha256'][:12]}…, "
                f"got those of {str(told['sha256'])[:12]}…; put the bundle there again"
            )
        values = load_scores(scores, (len(truth.files), len(labels)))
    except ValueError as cause:
        return {"status": "failed", "reason": " ".join(str(cause).split())}
    quality = accuracy(
        values, truth, thresholds, labels=labels, float_scores=float_scores, float_thresholds=float_thresholds
    )
    return {"status": "measured", "reason": None, **measured, **quality, "map_from": map_from}


def load_scores(file: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Scores (N, L) in 0..1 that a device wrote; ValueError for anything else."""
    try:
        mapped = np.load(file, mmap_mode="r")  # a header that lies about the size costs no memory
    except (OSError, ValueError, EOFError) as cause:
        raise ValueError(f"{file.name}: expected a file of scores, got: {cause}; measure again") from None
    if not isinstance(mapped, np.ndarray) or mapped.dtype != np.float32 or mapped.shape != shape:
        got = f"{mapped.dtype} {mapped.shape}" if isinstance(mapped, np.ndarray) else "an archive"
        raise ValueError(f"{file.name}: expected float32 scores {shape}, got {got}; measure again")
    values: NDArray[np.float32] = np.array(mapped)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"{file.name}: expected scores in 0..1, got others; the engine does not work there")
    return values


def latency(processes: Sequence[Any]) -> dict[str, Any]:
    """The latency fields of a row from what the fresh processes of one engine printed; ValueError if that is wrong."""
    told = [output_check.process(process) for process in processes]
    if not told:
        raise ValueError("bench: expected what at least one process printed, got none; raise `processes`")
    first, last = told[0], told[-1]
    if len({one["sha256"] for one in told}) > 1:
        raise ValueError("bench: expected processes that timed one file, got several; measure again")
    whole = _pool(told, "end_to_end_ms")
    medians = [float(np.median(one["samples"]["end_to_end_ms"])) for one in told]
    between = timing.spread(medians) if len(medians) > 1 else None
    return {
        "runtime": first["ran"]["version"],
        "provider": first["ran"]["provider"],
        "compute": first["ran"]["compute"],
        "placed": first["ran"]["placed"],
        "sha256": first["sha256"],
        "bytes": first["bytes"],
        "pinned": first["pinned"],
        "built_here": any(one["built_here"] for one in told),
        "load_ms": _median(one["load_ms"] for one in told),
        "first_ms": _median(one["first_ms"] for one in told),
        "end_to_end_ms": timing.summary(whole),
        "engine_ms": timing.summary(_pool(told, "engine_ms")),
        "parts_ms": {part: _median(_pool(told, f"{part}_ms")) for part in PARTS},
        "histogram": timing.histogram(whole),
        "process_p50_ms": medians,
        "queries": len(whole),
        "spread": between,
        "unstable": None if between is None else between > timing.UNSTABLE,
        "settled": all(one["settled"] for one in told),
        "peak_rss_mb": max(_there(told, "peak_rss_mb"), default=None),
        "gpu_memory_mb": max(_there(told, "gpu_memory_mb"), default=None),
        "energy": _energy(told),
        **{
            name: {"before": first[name]["before"], "after": last[name]["after"]}
            for name in ("clock_mhz", "temperature_c")
        },
    }


def _energy(told: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    found = _there(told, "energy")
    return found[0] | {"mj_per_query": _median(one["mj_per_query"] for one in found)} if found else None


def _there(told: Sequence[dict[str, Any]], name: str) -> list[Any]:
    return [one[name] for one in told if one[name] is not None]


def _pool(told: Sequence[dict[str, Any]], name: str) -> list[float]:
    return [sample for one in told for sample in one["samples"][name]]


def _median(values: Iterable[float]) -> float:
    return float(np.median(list(values)))
