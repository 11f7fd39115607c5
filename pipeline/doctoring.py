"""Why int8 engines of a recipe are no faster than float: its bundle, examined engine by engine."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from benchmarks.doctor import Built, diagnose, pairs, render
from export.backends import EngineRefused, MissingRuntime
from export.bundle import read_bundle
from export.tagger.choosing import backend_of
from pipeline.recipe import find_recipe


def doctor(recipe: str, runs: Path, dist: Path, out: Path | None = None) -> None:
    """Print what each int8 engine's own profile says; with `out`, write the same as JSON."""
    if out is not None and not out.parent.is_dir():
        raise ValueError(f"--json {out}: expected a file in an existing folder, got {out.parent}; make it")
    folder = _bundle(recipe, runs, dist)
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
        except (EngineRefused, MissingRuntime) as cause:
            lacking[int8.name] = str(cause)
            continue
        print(render(diagnoses[-1]))
    for name, reason in lacking.items():
        print(f"{name}: not examined here: {reason}")
    if out is not None:
        told = {"diagnoses": [dataclasses.asdict(one) for one in diagnoses], "not_examined": lacking}
        out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _bundle(recipe: str, runs: Path, dist: Path) -> Path:
    name = find_recipe(recipe).stem
    folders = [runs / name / "bundle" / "bundle", dist / name]
    for folder in folders:
        if folder.is_dir():
            return folder
    raise ValueError(f"{recipe}: expected its bundle in {' or '.join(map(str, folders))}, got none; run export first")
