"""Measure on one device: run the bundles' own programs in fresh processes and turn what they print into rows."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.accuracy import ReferenceScores, Truth
from benchmarks.config import Bench
from benchmarks.device.output import ScoreResult
from benchmarks.device.tagger_process import ProcessFailedError
from benchmarks.measured_models import Bundle, MeasuredEngine, MeasuredModel, ScoredEngines, model_of_bundle, refusing
from benchmarks.output_check import Info, read_info, read_process, read_score_result
from benchmarks.remote import Device, DeviceError, NoRoomError, Run, UnfitError
from benchmarks.requests import Timed, options_of, processes_after_queries
from benchmarks.rows import failed_row, measured_row
from benchmarks.schema import STUDENT, DeviceFacts, DeviceResult, Row, ScoreSource
from export.bundle.bundle import read_bundle
from mlkd.core.files import write_file
from mlkd.core.progress import Progress, silent

SECONDS_PER_IMAGE = 0.25  # what an image may take on a small board before scoring is given up
NOT_SCORED = "the device has no room for the test set, and no other machine has scored this engine"


@dataclass(frozen=True)
class Job:
    """One measurement of everything on one device; raw samples, scores and lists go to `out`."""

    device: Device
    truth: Truth
    labels: Sequence[str]
    bench: Bench
    out: Path
    seed: int = 0
    progress: Progress = silent
    host: ScoredEngines | None = None  # for a device that has no room for the test set
    extra: Sequence[MeasuredModel] = field(default=())  # measured besides the bundles

    @property
    def threads(self) -> int:
        """Threads of each engine."""
        return self.device.entry.threads or self.bench.threads


def run_bench(job: Job, bundles: Sequence[Bundle]) -> DeviceResult:
    """Measure every engine of the bundles and the extra models; rows keep their order.

    The first bundle is the one that is deployed.

    Raw samples go to out/samples/ROW.PROCESS.json, scores (N, L) to out/scores/ROW.npy; samples that are there already
    are not measured again.  An engine that cannot run or fails becomes a row with the reason.

    Raises:
        BundleError: A bundle cannot be read.
        DeviceError: The device cannot be used.
    """
    for folder in ("samples", "scores"):
        (job.out / folder).mkdir(parents=True, exist_ok=True)
    machine, models = _place_models(job, bundles)
    images, is_whole = _place_images(job)
    timed = time_all(job, models, images)
    elsewhere = [model.scored or (None if is_whole else job.host) for model in models]
    on_device = [model for model, scored in zip(models, elsewhere, strict=True) if scored is None]
    own = score_engines(job, on_device, images, machine)
    rows = [
        _row(job, model, engine, timed.get(engine.name), scored or own, bundles[0].reference)
        for model, scored in zip(models, elsewhere, strict=True)
        for engine in model.engines
    ]
    entry = job.device.entry
    device = DeviceFacts(name=entry.name, machine=machine, threads=job.threads, power_mode=entry.power_mode)
    return DeviceResult(device=device, rows=rows)


def plan(processes: Mapping[str, int], seed: int) -> list[tuple[str, int]]:
    """Return every (row, process) once, in a seeded random order, so that drift of the machine hits all rows alike."""
    runs = [(name, process) for name, count in processes.items() for process in range(count)]
    random.Random(seed).shuffle(runs)
    return runs


def _place_models(job: Job, bundles: Sequence[Bundle]) -> tuple[dict[str, Any], list[MeasuredModel]]:
    """Copy the bundles to the device; return the facts of its machine and the engines that it can run."""
    entry, machine, models = job.device.entry, None, []
    for done, bundle in enumerate(bundles):
        job.progress("bundles", done, len(bundles))
        reasons: dict[str, str | None]
        try:
            program = job.device.place(bundle.folder)
            info = _info(job, program)
            reasons = {engine.name: engine.lacks for engine in info.engines}
            machine = machine or info.machine
        except UnfitError as cause:
            if bundle.model == STUDENT:
                raise
            program = refusing(str(cause))  # a board with TensorRT alone runs the deployed engines, but no others
            reasons = {engine.name: str(cause) for engine in read_bundle(bundle.folder, verify=False).engines}
        models.append(
            model_of_bundle(bundle, program, reasons, device=entry.name, threads=job.threads, runtimes=entry.runtimes)
        )
    assert machine is not None, "a bench has a bundle"
    return machine, [*models, *job.extra]


def _info(job: Job, program: Run) -> Info:
    name = job.device.entry.name
    try:
        return read_info(program("info", "--json", *(["--rebuild"] if job.device.entry.rebuild else [])))
    except ProcessFailedError as cause:
        raise DeviceError(f"{name}: expected the output of `tagger.pyz info`, got {cause}") from cause
    except ValueError as cause:
        raise DeviceError(f"{name}: expected engines and a machine from `tagger.pyz info`, got {cause}") from cause


def _place_images(job: Job) -> tuple[str, bool]:
    """Copy the test images and say whether all fit: a device without room gets only those that are timed."""
    try:
        return job.device.copy_images(job.truth.files), True
    except NoRoomError:
        if job.host is None:
            raise
        return job.device.copy_images(sample_images(job)), False


def sample_images(job: Job) -> list[Path]:
    """Choose the images that are timed."""
    files = list(job.truth.files)
    return random.Random(job.seed).sample(files, min(job.bench.images, len(files)))


def time_all(job: Job, models: Sequence[MeasuredModel], images: str) -> dict[str, Timed]:
    """Time every engine that the device can run, in fresh processes that take turns; the result is by row."""
    programs = {engine.name: (model.program, engine) for model in models for engine in model.runnable}
    deployed = [name for name, (_, engine) in programs.items() if engine.is_deployed]
    counts = {name: job.bench.processes if name in deployed else job.bench.reference_processes for name in programs}
    runs: list[tuple[str, int | str]] = [*plan(counts, job.seed)]
    runs += [(name, process) for process in processes_after_queries(job.bench) for name in deployed]
    timed = {name: Timed() for name in programs}
    for done, (name, process) in enumerate(runs):
        job.progress("latency", done, len(runs))
        if timed[name].is_useful(process):
            try:
                options = options_of(job.bench, process, timed[name])
                timed[name].add(process, read_process(_time(job, *programs[name], process, images, options)))
            except (ProcessFailedError, ValueError) as cause:
                timed[name].fail(process, cause)
    job.progress("latency", len(runs), len(runs))
    return timed


def _time(
    job: Job, program: Run, engine: MeasuredEngine, process: int | str, images: str, options: Sequence[str]
) -> Any:
    """Run one process and return what it printed; that is stored, so that a resumed bench does not repeat it."""
    file = job.out / "samples" / f"{engine.name}.{process}.json"
    if file.is_file():
        return json.loads(file.read_text(encoding="utf-8"))
    bench = job.bench
    words = ["--engine", engine.engine, "--images", images, "--sample", str(bench.images), "--seed", str(job.seed)]
    words += ["--threads", str(job.threads), "--warmup-s", str(bench.warm_up_s), *options]
    printed = program("bench", *words, timeout_s=bench.timeout_s + 2 * bench.least_s + bench.sustained_s)
    write_file(file, json.dumps(printed).encode())
    return printed


def score_engines(job: Job, models: Sequence[MeasuredModel], images: str, machine: Mapping[str, Any]) -> ScoredEngines:
    """Score the test set into out/scores; a program decodes an image once for all of its engines."""
    cores = machine.get("cores")
    words = ["--images", images, *(["--threads", str(cores)] if isinstance(cores, int) and cores > 0 else [])]
    results: dict[str, ScoreResult] = {}
    total = sum(len(model.runnable) for model in models)
    for model in models:
        job.progress("accuracy", len(results), total)
        results |= _score(job, model.program, model.runnable, words)
    job.progress("accuracy", total, total)
    source = ScoreSource(device=job.device.entry.name, instruction_set=str(machine.get("instruction_set")))
    return ScoredEngines(source, job.out / "scores", results)


def _score(job: Job, program: Run, engines: Sequence[MeasuredEngine], words: Sequence[str]) -> dict[str, ScoreResult]:
    """Return the result of each row; where the whole program fails, each engine is scored in a process of its own."""
    if not engines:
        return {}
    folder = f"{job.device.scratch()}/{engines[0].name}"
    named = [word for engine in engines for word in ("--engine", engine.engine)]
    timeout_s = max(job.bench.timeout_s, SECONDS_PER_IMAGE * len(engines) * len(job.truth.files))
    try:
        printed = program("scores", *words, "--out", folder, *named, timeout_s=timeout_s)
    except ProcessFailedError as cause:
        if len(engines) == 1:
            return {engines[0].name: ScoreResult(error=str(cause))}
        alone = [_score(job, program, (engine,), words) for engine in engines]
        return {name: result for results in alone for name, result in results.items()}
    return {engine.name: _collect(job, printed, engine, folder) for engine in engines}


def _collect(job: Job, printed: Any, engine: MeasuredEngine, folder: str) -> ScoreResult:
    """Read what was printed of an engine and copy its scores from the device."""
    try:
        result = read_score_result(printed.get(engine.engine) if isinstance(printed, dict) else printed)
    except ValueError as cause:
        return ScoreResult(error=str(cause))
    if result.error is None:
        job.device.fetch(f"{folder}/{engine.engine}.npy", job.out / "scores" / f"{engine.name}.npy")
    return result


def _row(
    job: Job,
    model: MeasuredModel,
    engine: MeasuredEngine,
    timed: Timed | None,
    scored: ScoredEngines,
    student: ReferenceScores | None,
) -> Row:
    """Return the row filled, or with the reason why it is not; `student` are float scores of the bundle's student."""
    if timed is None:
        return dataclasses.replace(engine.row, status="built, not run", reason=engine.unavailable_reason)
    try:
        if timed.error is not None:
            raise ValueError(timed.error)
        row = measured_row(
            engine.row,
            timed.processes,
            scored.results.get(engine.name, ScoreResult(error=NOT_SCORED)),
            scored.folder / f"{engine.name}.npy",
            job.truth,
            engine.thresholds,
            labels=job.labels,
            map_from=scored.source,
            reference=model.reference,
            student=student,
        )
    except ValueError as cause:
        row = failed_row(engine.row, cause)
    return timed.complete(row)
