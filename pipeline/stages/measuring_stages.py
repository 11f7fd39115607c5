"""The stages behind the bundle: references → bench → devices → report."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.device import machine
from benchmarks.remote import DeviceEntry
from pipeline import teachers
from pipeline.recipe.schema import Recipe
from pipeline.runner import result
from pipeline.runner.stage import Context, Stage
from pipeline.stages import bench, devices, references, report
from pipeline.stages.devices import Shelf


def measuring_stages(recipe: Recipe, folder: Path, shelf: Shelf | None) -> tuple[Stage, ...]:
    """Those of a recipe; without a `shelf` the report keeps what other devices said of today's bundle."""
    here = shelf.here if shelf else bench.HERE
    others = shelf.others if shelf else ()
    return (
        references.stage(recipe),
        _bench(recipe, here),
        *((_devices(recipe, folder, others),) if others else ()),
        Stage(
            name="report",
            run=partial(_report, folder, here),
            reads=("bundle", "bench", *(("devices",) if others else ())),
            config={"here": here.name, "power_mode": here.power_mode},
            version=6,
            packages=("jinja2", "matplotlib"),
            outside=partial(_kept, folder),
        ),
    )


def _bench(recipe: Recipe, here: DeviceEntry) -> Stage:
    timed = dataclasses.replace(recipe.bench, threads=here.threads or recipe.bench.threads)
    return Stage(
        name="bench",
        run=partial(bench.bench, dataclasses.replace(recipe, bench=timed), here),
        version=5,
        reads=("data", *teachers.reads(recipe), "student", "baseline", "engines", "bundle", "references"),
        config={"bench": timed, "seed": recipe.seed, **_asked(here), **teachers.ready(recipe)},
        packages=("numpy", "pillow", "torch", "onnxruntime-gpu", "openvino", "tensorrt-rtx-cu13"),
        outside=lambda: {**machine.identity(), **teachers.hashes(recipe)},
    )


def _asked(here: DeviceEntry) -> dict[str, Any]:
    """What besides threads of the entry changes numbers; what came later than results only where it says so."""
    said = {name: getattr(here, name) for name in ("python", "rebuild", "power_mode")}
    said = {name: value for name, value in said.items() if value != getattr(bench.HERE, name)}
    return {"runtimes": here.runtimes, **said}


def _devices(recipe: Recipe, folder: Path, others: tuple[DeviceEntry, ...]) -> Stage:
    return Stage(
        name="devices",
        run=partial(devices.devices, recipe.bench, recipe.seed, others, folder / "devices.work"),
        reads=("data", "bundle", "references", "bench"),
        config={"bench": recipe.bench, "seed": recipe.seed, "devices": others},
        outside=partial(devices.again, folder / "devices"),
    )


def _report(folder: Path, here: DeviceEntry, context: Context) -> None:
    kept = folder / "devices" if _kept(folder) else None
    report.report(here, context.inputs.get("devices", kept), context)


def _kept(folder: Path) -> Mapping[str, Any]:
    """The devices' result, if it is of today's bundle."""
    found, bundle = result.read(folder / "devices"), result.read(folder / "bundle")
    if found is None or bundle is None or found.identity["reads"]["bundle"] != bundle.content:
        return {}
    return {"devices": found.content}
