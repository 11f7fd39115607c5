"""Declarations of the stages of `bench`: bench, devices, report."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.browser import page_files
from benchmarks.config import DeviceEntry
from benchmarks.device import machine
from pipeline import finals_folder, teachers
from pipeline.declarations import body
from pipeline.recipe.device_list import HERE
from pipeline.recipe.schema import Recipe
from pipeline.runner import result
from pipeline.runner.stage import Stage

RESULT = "devices.json"  # of the stage devices


def bench(recipe: Recipe, here: DeviceEntry, finals: Path | None = None) -> Stage:
    """`here` is this machine's entry in the list of devices, and `finals` the result of a search."""
    timed = dataclasses.replace(recipe.bench, threads=here.threads or recipe.bench.threads)
    return Stage(
        name="bench",
        run=body("bench", dataclasses.replace(recipe, bench=timed), here, finals),
        version=8,  # with the times of layers
        reads=("data", *teachers.reads(recipe), "student", "baseline", "engines", "bundle", "references"),
        config={"bench": timed, "seed": recipe.seed, **_asked(here), **teachers.ready(recipe)},
        packages=("numpy", "pillow", "torch", "onnx", "onnxruntime-gpu", "openvino", "tensorrt-rtx-cu13"),
        outside=lambda: {**machine.identity(), **teachers.hashes(recipe), **finals_folder.contents(finals)},
    )


def _asked(here: DeviceEntry) -> dict[str, Any]:
    """What besides threads of the entry changes numbers; what came later than results only where it says so."""
    said = {name: getattr(here, name) for name in ("python", "rebuild", "power_mode")}
    said = {name: value for name, value in said.items() if value != getattr(HERE, name)}
    return {"runtimes": here.runtimes, **said}


def devices(recipe: Recipe, folder: Path, others: tuple[DeviceEntry, ...], finals: Path | None = None) -> Stage:
    """What it has measured so far lies in `folder`/devices.work."""
    return Stage(
        name="devices",
        run=body("devices", recipe.bench, recipe.seed, others, folder / "devices.work", finals),
        reads=("data", "bundle", "references", "bench"),
        version=3,
        config={"bench": recipe.bench, "seed": recipe.seed, "devices": others},
        outside=lambda: {
            **again(folder / "devices"),
            **finals_folder.contents(finals),
            **page_files.identity(others),
        },
    )


def report(folder: Path, here: DeviceEntry, *, devices: bool) -> Stage:
    """Without `devices`, the report keeps what other devices measured of today's bundle."""
    return Stage(
        name="report",
        run=body("report", folder, here),
        reads=("bundle", "bench", *(("devices",) if devices else ())),
        config={"here": here.name, "power_mode": here.power_mode},
        version=9,
        packages=("jinja2", "pydantic", "resvg-py"),
        outside=partial(earlier, folder),
    )


def again(folder: Path) -> dict[str, int]:
    """Return a new value each time while a device of the finished result, or an engine on it, failed: to retry it."""
    file = folder / RESULT
    devices = result.read_json(file) if file.is_file() else []
    failed = any(
        entry["device"]["status"] != "measured" or any(row["status"] == "failed" for row in entry["rows"])
        for entry in devices
    )
    return {"again": time.time_ns()} if failed else {}


def earlier(folder: Path) -> Mapping[str, Any]:
    """The devices' result, if it is of today's bundle."""
    devices, bundle = result.read(folder / "devices"), result.read(folder / "bundle")
    if devices is None or bundle is None or devices.identity["reads"]["bundle"] != bundle.content:
        return {}
    return {"devices": devices.content}
