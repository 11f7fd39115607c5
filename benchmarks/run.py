"""Measure on one device: drive the bundles' own programs in fresh processes and turn what they print into rows."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import output_check
from benchmarks.accuracy import Truth
from benchmarks.config import Bench
from benchmarks.device.tagger_process import ProcessFailedError
from benchmarks.measured_models import Bundle, Candidate, Scored, Subject, of_bundle, refusing
from benchmarks.remote import Device, DeviceError, NoRoomError, Run, UnfitError
from benchmarks.requests import Timed, alone, asked
from benchmarks.rows import outcome
from export.bundle.bundle import read_bundle
from mlkd.core import files as whole_file
from mlkd.core.progress import Progress, silent

SECONDS_A_IMAGE = 0.25  # what an image may take on a small board before scoring is given up
NOT_HERE = "there is no room for the test set there, and no other machine has scored this engine"


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
    host: Scored | None = None  # for a device that has no room for the test set
    extra: Sequence[Subject] = field(default=())  # what runs besides the bundles

    @property
    def threads(self) -> int:
        return self.device.entry.threads or self.bench.threads


def run_bench(job: Job, bundles: Sequence[Bundle]) -> dict[str, Any]:
    """{"device", "rows"}: every engine of the bundles and what is extra, rows in their order.

    Raw samples go to out/samples/ROW.PROCESS.json, scores (N, L) to out/scores/ROW.npy; samples that lie there already
    are not taken again.  An engine that cannot run there or fails becomes a row that says so.  Raises BundleError,
    DeviceError for a device that cannot be used.
    """
    for folder in ("samples", "scores"):
        (job.out / folder).mkdir(parents=True, exist_ok=True)
    machine, subjects = _subjects(job, bundles)
    images, whole = _images(job)
    timed = _time_all(job, subjects, images)
    elsewhere = [subject.scored or (None if whole else job.host) for subject in subjects]
    here = score(job, [one for one, scored in zip(subjects, elsewhere, strict=True) if not scored], images, machine)
    rows = [
        _row(job, subject, one, timed[one.name], scored or here)
        if one.lacks is None
        else {**one.row, "status": "built, not run", "reason": one.lacks}
        for subject, scored in zip(subjects, elsewhere, strict=True)
        for one in subject.candidates
    ]
    entry = job.device.entry
    device = {"name": entry.name, "status": "measured", "reason": None, "machine": machine}
    return {"device": {**device, "threads": job.threads, "power_mode": entry.power_mode}, "rows": rows}


def plan(processes: Mapping[str, int], seed: int) -> list[tuple[str, int]]:
    """Every (row, process) once, in a seeded random order, so that drift of the machine hits all rows alike."""
    runs = [(name, process) for name, count in processes.items() for process in range(count)]
    random.Random(seed).shuffle(runs)
    return runs


def _subjects(job: Job, bundles: Sequence[Bundle]) -> tuple[dict[str, Any], list[Subject]]:
    """What the device says of itself, and what of each bundle runs there."""
    entry, machine, subjects = job.device.entry, None, []
    for done, bundle in enumerate(bundles):
        job.progress("bundles", done, len(bundles))
        try:
            program = job.device.place(bundle.folder)
            lacking, told = _info(job, program)
            machine = machine or told
        except UnfitError as cause:
            if bundle.kind == "engine":
                raise
            program = refusing(str(cause))  # a board with TensorRT alone runs no reference, but what ships
            engines = read_bundle(bundle.folder, verify=False).engines
            lacking = {engine.name: str(cause) for engine in engines}
        subjects.append(
            of_bundle(bundle, program, lacking, device=entry.name, threads=job.threads, runtimes=entry.runtimes)
        )
    assert machine is not None, "a bench has a bundle"
    return machine, [*subjects, *job.extra]


def _info(job: Job, program: Run) -> tuple[dict[str, str | None], dict[str, Any]]:
    """What each engine of a bundle lacks there, and the machine."""
    name = job.device.entry.name
    try:
        return output_check.info(program("info", "--json", *(["--rebuild"] if job.device.entry.rebuild else [])))
    except ProcessFailedError as cause:
        raise DeviceError(f"{name}: expected what `tagger.pyz info` says, got {cause}") from cause
    except ValueError as cause:
        raise DeviceError(f"{name}: expected engines and a machine from `tagger.pyz info`, got {cause}") from cause


def _images(job: Job) -> tuple[str, bool]:
    """The images there, and whether they are the whole test set: a device without room gets only the timed ones."""
    try:
        return job.device.copy_images(job.truth.files), True
    except NoRoomError:
        if job.host is None:
            raise
        files = list(job.truth.files)
        some = random.Random(job.seed).sample(files, min(job.bench.images, len(files)))
        return job.device.copy_images(some), False


def _time_all(job: Job, subjects: Sequence[Subject], images: str) -> dict[str, Timed]:
    able = {one.name: (subject.program, one) for subject in subjects for one in subject.able}
    counts = {True: job.bench.processes, False: job.bench.reference_processes}
    runs: list[tuple[str, int | str]] = [*plan({name: counts[one.ships] for name, (_, one) in able.items()}, job.seed)]
    runs += [(name, what) for what in alone(job.bench) for name, (_, one) in able.items() if one.ships]
    found = {name: Timed() for name in able}
    for done, (name, process) in enumerate(runs):
        job.progress("latency", done, len(runs))
        if found[name].can(process):
            try:
                words = asked(job.bench, process, found[name])
                found[name].add(process, output_check.process(_time(job, *able[name], process, images, words)))
            except (ProcessFailedError, ValueError) as cause:
                found[name].failed(process, cause)
    job.progress("latency", len(runs), len(runs))
    return found


def _time(job: Job, program: Run, one: Candidate, process: int | str, images: str, more: Sequence[str]) -> Any:
    """What one process prints; kept, so that a bench that goes on does not repeat it."""
    file = job.out / "samples" / f"{one.name}.{process}.json"
    if file.is_file():
        return json.loads(file.read_text(encoding="utf-8"))
    bench = job.bench
    words = ["--engine", one.engine, "--images", images, "--sample", str(bench.images), "--seed", str(job.seed)]
    words += ["--threads", str(job.threads), "--warmup-s", str(bench.warm_up_s), *more]
    told = program("bench", *words, timeout_s=bench.timeout_s + 2 * bench.least_s + bench.sustained_s)
    whole_file.write(file, json.dumps(told).encode())
    return told


def score(job: Job, subjects: Sequence[Subject], images: str, machine: Mapping[str, Any]) -> Scored:
    """Scores of the test set into out/scores; a program decodes an image once for all of its engines."""
    cores = machine.get("cores")
    words = ["--images", images, *(["--threads", str(cores)] if isinstance(cores, int) and cores > 0 else [])]
    found: dict[str, Any] = {}
    total = sum(len(subject.able) for subject in subjects)
    for subject in subjects:
        job.progress("accuracy", len(found), total)
        told = _score(job, subject.program, subject.able, words)
        if len(subject.able) > 1 and all(isinstance(one, str) for one in told.values()):  # one took the process down
            for one in subject.able:
                told |= _score(job, subject.program, (one,), words)
        found |= told
    job.progress("accuracy", total, total)
    return Scored(job.device.entry.name, str(machine.get("instruction_set")), job.out / "scores", found)


def _score(job: Job, program: Run, able: Sequence[Candidate], words: Sequence[str]) -> dict[str, Any]:
    """By row what was printed of it, or the error of the whole program."""
    if not able:
        return {}
    folder = f"{job.device.scratch()}/{able[0].name}"
    named = [word for one in able for word in ("--engine", one.engine)]
    timeout_s = max(job.bench.timeout_s, SECONDS_A_IMAGE * len(able) * len(job.truth.files))
    try:
        told = program("scores", *words, "--out", folder, *named, timeout_s=timeout_s)
    except ProcessFailedError as cause:
        return {one.name: str(cause) for one in able}
    found = {one.name: told.get(one.engine) if isinstance(told, dict) else told for one in able}
    for one in able:
        said = found[one.name]
        if isinstance(said, dict) and said.get("error") is None:
            job.device.fetch(f"{folder}/{one.engine}.npy", job.out / "scores" / f"{one.name}.npy")
    return found


def _row(job: Job, subject: Subject, one: Candidate, timed: Timed, scored: Scored) -> dict[str, Any]:
    """The row filled, or failed with its reason."""
    net, told = subject.net, scored.told.get(one.name, NOT_HERE)
    filled = outcome(
        timed.error or (told if isinstance(told, str) else timed.processes),
        told,
        scored.folder / f"{one.name}.npy",
        job.truth,
        one.thresholds,
        labels=job.labels,
        map_from={"device": scored.device, "instruction_set": scored.instruction_set},
        float_scores=None if net is None else net.scores,
        float_thresholds=None if net is None else net.thresholds,
    )
    return {**one.row, **filled, **timed.asked_alone()}
