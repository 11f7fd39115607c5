"""The bench stage: drive the bundle's own program in fresh processes and turn what it prints into rows."""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine, timing
from benchmarks.accuracy import Truth
from benchmarks.program import ProcessFailedError, Program
from benchmarks.rows import facts, outcome
from export.bundle import PROGRAM, read_bundle
from export.tagger.choosing import backend_of
from export.tagger.opening import lacks
from mlkd.progress import Progress, silent

Run = Callable[..., Any]  # a Program
BATCH = 8  # of the throughput column


@dataclass(frozen=True, kw_only=True)
class Bench:
    """How engines are measured."""

    processes: int = 3
    queries: int = 256
    threads: int = 1
    pictures: int = 64  # of the test set, decoded again in every query
    warm_up_s: float = 3.0
    replicates: int = 1000  # of the bootstrap
    timeout_s: float = 600.0

    def __post_init__(self) -> None:
        for name in ("processes", "queries", "threads", "pictures", "replicates", "timeout_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"bench.{name}: expected more than 0, got {getattr(self, name)}")
        if self.warm_up_s < 0:
            raise ValueError(f"bench.warm_up_s: expected at least 0, got {self.warm_up_s}")

    def protocol(self) -> dict[str, str]:
        """What was done, for readers."""
        return {
            "stream": "single: batch 1, the next query starts when the last has ended",
            "end_to_end": "picture bytes in memory to labels; engine: uint8 tensor in, scores out, transfers included",
            "queries": f"{self.queries} a process over {self.pictures} test pictures",
            "processes": f"{self.processes} fresh ones an engine, all engines interleaved in a seeded random order",
            "threads": f"{self.threads}, process pinned to as many cores",
            "warm_up": f"until three windows of 16 queries agree within 2 % or {self.warm_up_s:g} s: unsettled",
            "spread": f"range of the processes' p50 over their median; above {timing.UNSTABLE:.0%} a row is unstable",
            "throughput": f"batches of {BATCH}, engine only",
            "accuracy": f"whole test set through the same file; 95 % intervals from {self.replicates} bootstraps",
        }


def run_bench(
    bundle: Path,
    truth: Truth,
    bench: Bench,
    out: Path,
    *,
    seed: int = 0,
    python: str = sys.executable,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Measure every engine of `bundle` on this machine: {"machine", "protocol", "rows"}, in the manifest's order.

    Raw samples go to out/samples/ENGINE.PROCESS.json, scores (N, L) to out/scores/ENGINE.npy.  An engine that cannot
    run here or fails becomes a row that says so.  Raises BundleError.
    """
    manifest = read_bundle(bundle)
    bundle, out = bundle.resolve(), out.resolve()
    lacking = {entry.name: lacks(manifest, entry, backend_of(entry, bench.threads)) for entry in manifest.engines}
    able = [name for name, reason in lacking.items() if reason is None]
    program = Program([python, str(bundle / PROGRAM)], bench.timeout_s)
    (out / "samples").mkdir(parents=True, exist_ok=True)
    pictures = _write_list(out / "timed.txt", _sample(truth.files, bench.pictures, seed))
    runs = plan(able, bench.processes, seed)
    timed = _time_all(program, runs, bench, pictures, out / "samples", progress)
    listed = _write_list(out / "test.txt", truth.files)
    scored = _score_all(program, able, listed, out / "scores", progress)
    rows = []
    for entry in manifest.engines:
        row = facts(manifest, entry, bench.threads)
        if (reason := lacking[entry.name]) is not None:
            row |= {"status": "built, not run", "reason": reason}
        else:
            scores = out / "scores" / f"{entry.name}.npy"
            result = timed[entry.name], scored[entry.name], scores, truth, entry.thresholds
            row |= outcome(*result, replicates=bench.replicates, seed=seed)
        rows.append(row)
    return {"machine": machine.describe(), "protocol": bench.protocol(), "rows": rows}


def plan(engines: Sequence[str], processes: int, seed: int) -> list[tuple[str, int]]:
    """Every (engine, process) once, in a seeded random order, so that drift of the machine hits all engines alike."""
    runs = [(engine, process) for process in range(processes) for engine in engines]
    random.Random(seed).shuffle(runs)
    return runs


def _time_all(
    program: Run, runs: Sequence[tuple[str, int]], bench: Bench, pictures: Path, samples: Path, progress: Progress
) -> dict[str, list[dict[str, Any]] | str]:
    """By engine what its processes printed, or the error of the first that failed."""
    found: dict[str, list[dict[str, Any]] | str] = {engine: [] for engine, _ in runs}
    settings = ["--queries", str(bench.queries), "--threads", str(bench.threads), "--batch", str(BATCH)]
    settings += ["--warmup-s", str(bench.warm_up_s), "--pictures", str(pictures)]
    for done, (engine, process) in enumerate(runs):
        progress("latency", done, len(runs))
        so_far = found[engine]
        if isinstance(so_far, str):
            continue
        try:
            printed = program("bench", "--engine", engine, *settings)
        except ProcessFailedError as cause:
            found[engine] = str(cause)
            continue
        so_far.append(printed)
        (samples / f"{engine}.{process}.json").write_text(json.dumps(printed), encoding="utf-8")
    progress("latency", len(runs), len(runs))
    return found


def _score_all(
    program: Run, engines: Sequence[str], pictures: Path, out: Path, progress: Progress
) -> dict[str, dict[str, Any]]:
    """Scores of all engines from one process, which decodes each picture once; one by one if that process dies."""
    progress("accuracy", 0, len(engines))
    found = _scores(program, engines, pictures, out)
    if len(engines) > 1 and all(entry["error"] for entry in found.values()):
        for engine in engines:
            found |= _scores(program, [engine], pictures, out)
    progress("accuracy", len(engines), len(engines))
    return found


def _scores(program: Run, engines: Sequence[str], pictures: Path, out: Path) -> dict[str, dict[str, Any]]:
    named = [word for engine in engines for word in ("--engine", engine)]
    threads = str(os.cpu_count() or 1)
    try:
        found = program("scores", "--pictures", str(pictures), "--out", str(out), "--threads", threads, *named)
    except ProcessFailedError as cause:
        return {engine: {"ran": None, "error": str(cause)} for engine in engines}
    return dict(found)


def _sample(files: Sequence[Path], count: int, seed: int) -> list[Path]:
    return random.Random(seed).sample(list(files), min(count, len(files)))


def _write_list(file: Path, pictures: Sequence[Path]) -> Path:
    file.write_text("".join(f"{picture.resolve()}\n" for picture in pictures), encoding="utf-8")
    return file
