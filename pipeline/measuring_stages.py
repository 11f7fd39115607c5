"""The stages behind the bundle: references → bench → devices → report."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.devices import DeviceEntry
from pipeline import devices, measuring, references, reporting, result, teaching
from pipeline.devices import Shelf
from pipeline.recipe import Recipe
from pipeline.stage import Context, Stage


def measuring_stages(recipe: Recipe, folder: Path, shelf: Shelf | None) -> tuple[Stage, ...]:
    """Those of a recipe; without a `shelf` the report keeps what other devices said of today's bundle."""
    here = shelf.here if shelf else measuring.HERE
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
        run=partial(measuring.bench, dataclasses.replace(recipe, bench=timed), here),
        version=4,
        reads=("data", *teaching.reads(recipe), "student", "baseline", "engines", "bundle", "references"),
        config={"bench": timed, "seed": recipe.seed, **_asked(here), **teaching.ready(recipe)},
        packages=("numpy", "pillow", "torch", "onnxruntime-gpu", "openvino", "tensorrt-rtx-cu13"),
        outside=lambda: {**machine.identity(), **teaching.hashes(recipe)},
    )


def _asked(here: DeviceEntry) -> dict[str, Any]:
    """What besides threads of the entry changes numbers; what came later than results only where it says so."""
    said = {name: getattr(here, name) for name in ("python", "rebuild", "power_mode")}
    said = {name: value for name, value in said.items() if value != getattr(measuring.HERE, name)}
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
    reporting.report(here, context.inputs.get("devices", kept), context)


def _kept(folder: Path) -> Mapping[str, Any]:
    """The devices' result, if it is of today's bundle."""
    found, bundle = result.read(folder / "devices"), result.read(folder / "bundle")
    if found is None or bundle is None or found.identity["reads"]["bundle"] != bundle.content:
        return {}
    return {"devices": found.content}
