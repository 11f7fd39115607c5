"""Why int8 engines of a recipe are no faster than float, and whether this processor's kernels compute them right."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.doctor import Built, Drift, diagnose, measure_drift, pairs
from export.backends import OnnxRuntime, OpenVino
from export.bundle.bundle import read_bundle
from export.bundle.golden import Golden
from export.bundle.manifest import Manifest
from export.errors import EngineError, MissingRuntimeError
from export.tagger.engine_choice import backend_of
from mlkd.data.prepared import read_split
from pipeline.cli.options import DIST, RUNS, add_recipe_argument, find_result
from pipeline.recipe.find import find_recipe
from pipeline.runner.result import write_json


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_recipe_argument(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings there as well")


def run(options: argparse.Namespace) -> None:
    """Say why int8 engines are no faster than float, and whether this CPU computes them right."""
    out: Path | None = options.json
    if out is not None and not out.parent.is_dir():
        raise ValueError(f"--json {out}: expected a file in an existing folder, got {out.parent}; make it")
    results = RUNS / find_recipe(options.recipe).stem
    folder = find_result(options.recipe, "bundle", [results / "bundle" / "bundle", DIST / results.name], "export")
    manifest = read_bundle(folder)
    engines = [
        Built(name=entry.name, precision=entry.precision, backend=backend_of(entry), file=folder / entry.file)
        for entry in manifest.engines
    ]
    found, lacking = pairs(engines)
    if not found and not lacking:
        raise ValueError(
            f"{folder}: expected int8 engines, got {[engine.name for engine in engines]}; add one to export"
        )
    diagnoses = []
    for int8, plain in found:
        try:
            diagnoses.append(diagnose(int8, plain))
        except (EngineError, MissingRuntimeError) as cause:
            lacking[int8.name] = str(cause)
            continue
        print(diagnoses[-1])
    for name, reason in lacking.items():
        print(f"{name}: not examined here: {reason}")
    drifts = _drifts(engines, _images(folder, manifest, results / "data"))
    for name, drift in drifts.items():
        print(f"{name}: {drift}{_instead(drifts, engines) if drift.saturates else ''}")
    if out is not None:
        facts = {
            "diagnoses": [dataclasses.asdict(diagnosis) for diagnosis in diagnoses],
            "not_examined": lacking,
            "drift": {name: dataclasses.asdict(drift) for name, drift in drifts.items()},
        }
        write_json(out, facts)


def _images(folder: Path, manifest: Manifest, data: Path) -> tuple[Any, ...]:
    """Return pixels, targets and label mask of select, or else the golden images of the bundle without labels."""
    if (data / "select.json").is_file():
        select = read_split(data, "select")
        if select.labels.names == manifest.labels:
            return select.pixels(manifest.image_px), select.targets, select.label_mask
    return (np.stack(Golden.read(folder, manifest).pixels),)


def _drifts(engines: Sequence[Built], images: tuple[Any, ...]) -> dict[str, Drift]:
    """Measure the score drift of the int8 engines that run here, by name."""
    drifts = {}
    for engine in engines:
        if engine.precision.startswith("int8") and isinstance(engine.backend, OnnxRuntime | OpenVino):
            try:
                drifts[engine.name] = measure_drift(engine, *images)
            except (EngineError, MissingRuntimeError):  # printed already as not examined
                continue
    return drifts


def _instead(drifts: dict[str, Drift], engines: Sequence[Built]) -> str:
    """Name the engines to use instead of one that saturates: int8 engines that do not, else float engines."""
    good = [name for name, drift in drifts.items() if not drift.saturates]
    good = good or [engine.name for engine in engines if engine.precision == "fp32"]
    return f"; use {' or '.join(good) or 'an engine in float'}"
