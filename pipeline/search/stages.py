"""The stages of a search that train nothing: build/CANDIDATE → times → screen."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path

from benchmarks.browser import page_files
from benchmarks.config import Bench, DeviceEntry
from benchmarks.device import machine
from benchmarks.parsing import to_json
from export.backends import OnnxRuntime
from export.bundle import program
from pipeline import stages, teachers
from pipeline.declarations import body
from pipeline.recipe.device_list import HERE, DeviceList
from pipeline.recipe.reference_engines import select_engines
from pipeline.recipe.schema import Engine, Recipe
from pipeline.recipe.search import Search
from pipeline.runner.identity import plain
from pipeline.runner.result import write_json
from pipeline.runner.speed import Work
from pipeline.runner.stage import Context, Pipeline, Stage
from pipeline.search.candidates import Candidate, candidates
from pipeline.search.rows import BUILT, SCREEN, Screen, judge, read_built, read_times, rows_of

TIMES, RESULT = "times", "screen"
BENCH = Bench(reference_processes=2, queries=128, images=32, warm_up_s=1.0)  # brief: the finals are measured fully
BUILD_S, TIMING_S = 8.0, 4.0  # until this machine has measured its own


def pipeline(
    recipe: Recipe, folder: Path, force: Collection[str] = (), device_list: DeviceList | None = None
) -> Pipeline:
    """Build the stages of the recipe's screen, with results in `folder`.

    Raises:
        ValueError: The recipe has no search, or its search names an unknown device or an impossible model, or there is
            no engine to time.
    """
    search = recipe.search
    if search is None:
        raise ValueError(
            f"{recipe.name}: expected a section `search`, got none; add one with a budget and students: docs/search.md"
        )
    found = candidates(search, recipe.student.model)
    devices = select_devices(search.devices, device_list)
    engines = screen_engines(recipe, devices)
    program_digest = functools.cache(program.digest)  # once for all builds: it reads every source
    builds = {candidate.name: _build(recipe, candidate, engines, program_digest) for candidate in found}
    screen = (*builds.values(), _times(recipe, builds, engines, devices), _screen(search, builds, devices))
    before = stages.pipeline(recipe, folder).until("data").stages
    return Pipeline((*before, *screen), folder, frozenset(force))


def select_devices(names: Sequence[str], listed: DeviceList | None) -> tuple[DeviceEntry, ...]:
    """Return the entries of the named devices; raises ValueError for an unknown name."""
    here, others = (listed.here, listed.others) if listed else (HERE, ())
    local = dataclasses.replace(here, name=HERE.name)
    known = {here.name: local, HERE.name: local, **{entry.name: entry for entry in others}}
    for name in names:
        if name not in known:
            raise ValueError(
                f"search.devices: expected some of {', '.join(known)}, got {name!r}; add it to devices.yaml, and name "
                "the file with --devices or DEVICES="
            )
    return tuple({known[name].name: known[name] for name in names}.values())


def screen_engines(recipe: Recipe, devices: Sequence[DeviceEntry]) -> tuple[Engine, ...]:
    """The engines that references have, and for other devices the first int8 engine of ARM."""
    selected = select_engines(recipe)
    if any(entry.host for entry in devices):
        signed = [
            engine
            for engine in recipe.export.engines
            if engine.precision == "int8" and isinstance(engine.backend, OnnxRuntime) and engine.backend.device == "cpu"
        ]
        selected = (*selected, *(engine for engine in signed[:1] if engine not in selected))
    if not selected:
        raise ValueError(
            "export.engines: expected one in float32 or int8 for a CPU, which candidates are timed with, got none; "
            "add {name: onnxruntime-int8, precision: int8_x86, backend: {kind: onnxruntime}}"
        )
    return selected


def _build(recipe: Recipe, candidate: Candidate, engines: Sequence[Engine], program_digest: Callable[[], str]) -> Stage:
    model = {name: value for name, value in plain(candidate.model).items() if name != "weights"}  # no time depends on
    return Stage(
        name=f"build/{candidate.name}",
        run=body("build", candidate.model, engines, room="pipeline.search"),
        reads=("data",),
        unread=teachers.unread(recipe, candidate.model),
        config={"model": model, "engines": engines},
        version=2,  # one mean and one std where the channels have equal ones
        packages=("torch", "timm", "onnx", "onnxscript", "onnxruntime-gpu", "openvino", "nncf", "numpy", "pillow"),
        outside=lambda: {"program": program_digest()},
        work=Work(unit_s=BUILD_S, bytes=30_000_000),
    )


def _times(
    recipe: Recipe, builds: dict[str, Stage], engines: Sequence[Engine], devices: Sequence[DeviceEntry]
) -> Stage:
    """The budget is no part of it: another budget is judged by the same times."""
    bench = dataclasses.replace(BENCH, threads=recipe.bench.threads)
    names = {name: stage.name for name, stage in builds.items()}
    return Stage(
        name=TIMES,
        run=body("times", names, [engine.name for engine in engines], bench, devices, room="pipeline.search"),
        reads=("data", *names.values()),
        unread=(*teachers.unread(recipe), BUILT),  # a build that failed has nothing else, and changes no times
        config={"bench": bench, "devices": [dataclasses.replace(entry, retries=0, timeout_s=1.0) for entry in devices]},
        version=2,  # of candidates that could be built
        packages=("numpy", "pillow", "onnxruntime-gpu", "openvino"),
        outside=lambda: {
            **(machine.identity() if any(entry.is_here for entry in devices) else {}),
            **page_files.identity(devices),
        },
        volatile=("samples/*",),
        work=Work(
            units=len(builds) * len(engines) * len(devices),
            kind=recipe.name,
            unit_s=TIMING_S,
            bytes=20_000 * len(builds),
        ),
    )


def _screen(search: Search, builds: dict[str, Stage], devices: Sequence[DeviceEntry]) -> Stage:
    names, found = {name: stage.name for name, stage in builds.items()}, [entry.name for entry in devices]
    return Stage(
        name=RESULT,
        run=partial(_run_screen, search, names, found),
        reads=(TIMES, *names.values()),
        config={"max_p90_ms": search.max_p90_ms, "max_mb": search.max_mb, "devices": found},
        work=Work(unit_s=0.1, bytes=10_000),
    )


def _run_screen(search: Search, builds: dict[str, str], devices: Sequence[str], context: Context) -> None:
    """Judge the candidates by their times."""
    timed = read_times(context.inputs[TIMES])
    built = {name: read_built(context.inputs[stage]) for name, stage in builds.items()}
    rows = [row for device in devices for name in builds for row in rows_of(name, device, built[name], timed)]
    verdicts = [judge(name, [row for row in rows if row.candidate == name], search) for name in builds]
    verdicts.sort(key=lambda verdict: (verdict.p90_ms, verdict.candidate))
    write_json(context.out / SCREEN, to_json(Screen(rows=rows, verdicts=verdicts)))
