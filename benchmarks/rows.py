"""Fill a row of the report from what the processes on a device printed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import ReferenceScores, Truth, measure_accuracy
from benchmarks.device import timing
from benchmarks.device.output import Clock, Energy, Process, ScoreResult, Temperature
from benchmarks.device.protocol import PARTS
from benchmarks.schema import STUDENT, Histogram, Kind, Parts, Percentiles, Row, ScoreSource
from export.bundle.manifest import EngineEntry, Manifest

T = TypeVar("T")


def unmeasured_row(
    manifest: Manifest,
    entry: EngineEntry,
    *,
    device: str,
    name: str | None = None,
    model: str = STUDENT,
    kind: Kind = "engine",
    threads: int | None = None,
) -> Row:
    """Return a row with what is known of an engine without running it."""
    return Row(
        name=name or entry.name,
        device=device,
        kind=kind,
        model=model,
        runtime=str(entry.backend["kind"]),
        precision=entry.precision,
        threads=threads,
        file=entry.file,
        sha256=manifest.files[entry.file].sha256,
        bytes=sum(manifest.files[path].bytes for path in entry.files),
    )


def measured_row(
    row: Row,
    processes: Sequence[Process],
    scored: ScoreResult,
    scores: Path,
    truth: Truth,
    thresholds: Sequence[float],
    *,
    labels: Sequence[str],
    map_from: ScoreSource,
    reference: ReferenceScores | None = None,
    student: ReferenceScores | None = None,
) -> Row:
    """Fill a row from its processes and the file of its scores (N, L); ValueError if they are not of one file.

    `reference` are float scores of its own model, `student` those of the bundle's student.
    """
    timed = add_timing(row, processes)
    if scored.error is not None:
        raise ValueError(scored.error)
    if scored.sha256 != timed.sha256:
        raise ValueError(
            f"scores: expected those of the file that was timed, {str(timed.sha256)[:12]}…, "
            f"got those of {str(scored.sha256)[:12]}…; copy the bundle to the device again"
        )
    values = load_scores(scores, (len(truth.files), len(labels)))
    other = student.scores if student is not None and row.model != STUDENT else None
    accuracy = measure_accuracy(values, truth, thresholds, labels=labels, reference=reference, student=other)
    return dataclasses.replace(timed, status="measured", reason=None, **vars(accuracy), map_from=map_from)


def failed_row(row: Row, cause: Exception | str) -> Row:
    """Return the row with the reason in one line."""
    return dataclasses.replace(row, status="failed", reason=" ".join(str(cause).split()))


def load_scores(file: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Load scores (N, L) in 0..1 that a device wrote; ValueError if the file holds anything else."""
    try:
        mapped = np.lib.format.open_memmap(file, mode="r")  # a header that lies about the size costs no memory
    except (OSError, ValueError, EOFError) as cause:
        raise ValueError(f"{file.name}: expected a file of scores, got: {cause}; measure again") from None
    if mapped.dtype != np.float32 or mapped.shape != shape:
        got = f"{mapped.dtype} {mapped.shape}"
        raise ValueError(f"{file.name}: expected float32 scores {shape}, got {got}; measure again")
    values: NDArray[np.float32] = np.array(mapped)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"{file.name}: expected scores in 0..1, got others; the engine does not work on this device")
    return values


def add_timing(row: Row, processes: Sequence[Process]) -> Row:
    """Fill the timing fields of a row from the fresh processes of one engine; ValueError if they timed several."""
    if not processes:
        raise ValueError("bench: expected the output of at least one process, got none; raise `processes`")
    first, last = processes[0], processes[-1]
    if len({process.sha256 for process in processes}) > 1:
        raise ValueError("bench: expected processes that timed one file, got several; measure again")
    whole = _pool(processes, "end_to_end_ms")
    medians = [float(np.median(process.samples.end_to_end_ms)) for process in processes]
    halves = [half for process in processes for half in timing.halves(process.samples.end_to_end_ms)]
    spread = timing.spread([float(np.median(half)) for half in halves]) if len(halves) > 1 else None
    return dataclasses.replace(
        row,
        runtime=first.ran.version,
        provider=first.ran.provider,
        compute=first.ran.compute,
        placed=first.ran.placed,
        sha256=first.sha256,
        bytes=first.bytes,
        pinned=first.pinned,
        built_here=any(process.built_here for process in processes),
        load_ms=_median(process.load_ms for process in processes),
        first_ms=_median(process.first_ms for process in processes),
        end_to_end_ms=Percentiles(**timing.summary(whole)),
        engine_ms=Percentiles(**timing.summary(_pool(processes, "engine_ms"))),
        parts_ms=Parts(**{part: _median(_pool(processes, f"{part}_ms")) for part in PARTS}),
        histogram=Histogram(**timing.histogram(whole)),
        process_p50_ms=medians,
        queries=len(whole),
        spread=spread,
        unstable=None if spread is None else spread > timing.UNSTABLE,
        settled=all(process.warm_up.settled for process in processes),
        peak_rss_mb=max(_known(processes, lambda process: process.peak_rss_mb), default=None),
        gpu_memory_mb=max(_known(processes, lambda process: process.gpu_memory_mb), default=None),
        energy=_energy(_known(processes, lambda process: process.energy)),
        clock_mhz=Clock(before=first.clock_mhz.before, after=last.clock_mhz.after),
        temperature_c=Temperature(before=first.temperature_c.before, after=last.temperature_c.after),
    )


def _energy(readings: Sequence[Energy]) -> Energy | None:
    if not readings:
        return None
    return dataclasses.replace(readings[0], mj_per_query=_median(reading.mj_per_query for reading in readings))


def _known(processes: Sequence[Process], value: Callable[[Process], T | None]) -> list[T]:
    return [found for found in map(value, processes) if found is not None]


def _pool(processes: Sequence[Process], name: str) -> list[float]:
    return [sample for process in processes for sample in getattr(process.samples, name)]


def _median(values: Iterable[float]) -> float:
    return float(np.median(list(values)))
