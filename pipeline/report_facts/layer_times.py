"""Profile the engine to deploy on this machine and the fastest float engine of its runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.doctor import Built, profile
from benchmarks.report.recommendation import Limits, recommend
from benchmarks.report.rows import place
from benchmarks.schema import STUDENT, Row
from benchmarks.sections import LayerTimes
from export.bundle.bundle import read_bundle
from export.tagger.engine_choice import backend_of
from pipeline.recipe.schema import Recipe


def profile_engines(
    recipe: Recipe, folder: Path, graph: Path, rows: Sequence[Row], budget: Limits
) -> LayerTimes | None:
    """Return where the time of the two engines goes, each in a process of its own; None if no engine was measured.

    `folder` is the bundle, `graph` the exported float graph.
    """
    choice = recommend(place(rows), budget)
    if choice is None:
        return None
    manifest = read_bundle(folder, verify=False)
    chosen = manifest.engine(choice.chosen.name)
    medians = {row.name: row.engine_ms.p50 or 0.0 for row in rows if row.model == STUDENT and row.engine_ms}
    floats = [
        entry.name
        for entry in manifest.engines
        if entry.name in medians
        and entry.backend["kind"] == chosen.backend["kind"]
        and not entry.precision.startswith("int8")
    ]
    names = dict.fromkeys([chosen.name, *sorted(floats, key=lambda name: medians[name])[:1]])
    engines = [
        Built(
            name=entry.name,
            precision=entry.precision,
            backend=backend_of(entry, recipe.bench.threads),
            file=folder / entry.file,
        )
        for entry in map(manifest.engine, names)
    ]
    return LayerTimes(head=recipe.student.model.head.kind, engines=[profile(engine, graph) for engine in engines])
