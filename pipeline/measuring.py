"""Stages that measure the bundle and tell: bench, report.  Besides these only a comparison reads the test split."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import Truth
from benchmarks.report import render
from benchmarks.run import run_bench
from export.bundle import Manifest, Parts, parts_of, read_bundle, write_bundle
from mlkd import evaluate, teachers
from mlkd.data.prepared import Split, read_split
from mlkd.metrics import labels_without_positives, tune_thresholds
from pipeline import teaching
from pipeline.anchors import Reference
from pipeline.building import cost
from pipeline.comparison import distillation, int8_gain, training
from pipeline.grid import grid
from pipeline.recipe import Recipe
from pipeline.stage import Context

log = logging.getLogger(__name__)

NETS = ("teacher", "student", "baseline")
REPORTS = ("report.html", "report.md", "report.json")


def bench(recipe: Recipe, context: Context) -> None:
    """Engines through the bundle's own program, references in torch, and what distillation gave; into bench.json."""
    test = read_split(context.inputs["data"], "test")
    truth = Truth(
        files=test.files,
        targets=test.targets,
        groups=test.groups,
        major=test.major,
        minor=test.minor,
        known=test.known,
    )
    folder = context.inputs["bundle"] / "bundle"
    manifest = read_bundle(folder)
    scores = {net: _scores(recipe, context, net, test) for net in NETS}
    measured = run_bench(folder, truth, recipe.bench, context.out, seed=recipe.seed, progress=context.progress)
    rows = measured["rows"] + _references(recipe, context, truth, scores)
    compared = distillation(scores, truth, test.labels, replicates=recipe.bench.replicates, seed=recipe.seed)
    for row in rows:
        if row["model"] == "student" and row.get("map") is not None:
            row["delta_map"] = row["map"] - compared["student_map"]
    gain = int8_gain(manifest, rows)
    facts = {
        "schema": 1,
        "recipe": recipe.name,
        "composed": manifest.composed,
        "labels": list(manifest.labels),
        "machine": measured["machine"],
        "protocol": measured["protocol"],
        "rows": rows,
        "distillation": compared,
        "int8_gain": gain,
        "freezing": cost(context.inputs["engines"]),
        "training": {net: training(context.inputs[net]) for net in NETS if net in context.inputs},
        "grid": grid(test, manifest, context.out / "scores", seed=recipe.seed),
        "notes": [*_notes(manifest, rows), *_note_on_teachers(recipe), *_note_on_labels(test)],
    }
    _tell(compared, gain)
    (context.out / "bench.json").write_text(json.dumps(plain_numbers(facts), indent=1) + "\n", encoding="utf-8")


def report(context: Context) -> None:
    """The page, and the bundle as it is published: the same files, with the page and the measured numbers."""
    facts = json.loads((context.inputs["bench"] / "bench.json").read_text(encoding="utf-8"))
    render(facts, context.out)
    measured = context.out / "measured.json"
    measured.write_text(json.dumps({k: facts[k] for k in ("machine", "protocol", "rows")}, indent=1) + "\n")
    parts = parts_of(context.inputs["bundle"] / "bundle")
    added = {name: context.out / name for name in (*REPORTS, measured.name)}
    manifest = _measured(parts.manifest, facts)
    write_bundle(Parts(manifest=manifest, sources={**parts.sources, **added}), context.out / "bundle")


def plain_numbers(value: Any) -> Any:
    """The same facts as JSON holds them: numpy's numbers as Python's, None for what is not finite."""
    if isinstance(value, Mapping):
        return {str(key): plain_numbers(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_numbers(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _scores(recipe: Recipe, context: Context, net: str, test: Split) -> NDArray[np.float32]:
    """Test scores in torch, kept in the stage's folder so that a run that goes on does not repeat them.

    Those of the teacher are those of all that teach, as one.
    """
    file = context.out / "torch" / f"{net}.npy"
    if not file.is_file():
        context.progress("test scores in torch", NETS.index(net), len(NETS))
        scores = (
            _of_teachers(recipe, context, test) if net == "teacher" else evaluate.of_folder(context.inputs[net], test)
        )
        file.parent.mkdir(exist_ok=True)
        partial = file.with_suffix(".partial")
        with partial.open("wb") as stream:
            np.save(stream, scores)
        partial.replace(file)
    kept: NDArray[np.float32] = np.load(file)
    return kept


def _of_teachers(recipe: Recipe, context: Context, split: Split) -> NDArray[np.float32]:
    return teachers.scores(teachers.load(teaching.teachers(recipe, context.inputs), split.labels), split)


def _references(
    recipe: Recipe, context: Context, truth: Truth, scores: Mapping[str, NDArray[np.float32]]
) -> list[dict[str, Any]]:
    """Teacher, where it is one net of ours, and student in eager torch, on the pictures that engines were timed on."""
    tune = read_split(context.inputs["data"], "tune")
    pictures = [Path(line) for line in (context.out / "timed.txt").read_text(encoding="utf-8").splitlines()]
    alone, rows = teaching.alone(recipe, context.inputs), []
    folders = {**({"teacher": alone} if alone else {}), "student": context.inputs["student"]}
    for done, (net, folder) in enumerate(folders.items()):
        context.progress("references in torch", done, len(folders))
        thresholds = tune_thresholds(evaluate.of_folder(folder, tune), tune.targets, tune.known)
        reference = Reference(model=net, folder=folder, scores=scores[net], thresholds=thresholds)
        rows.append(reference.row(truth, recipe.bench, pictures, seed=recipe.seed))
    return rows


def _measured(manifest: Manifest, facts: Mapping[str, Any]) -> Manifest:
    """The manifest with the latency of each engine as shipped, and the machine it holds for."""
    shipped = [row for row in facts["rows"] if row["status"] == "measured" and not row.get("built_here")]
    p50 = {row["name"]: row["end_to_end_ms"]["p50"] for row in shipped}
    engines = tuple(dataclasses.replace(engine, p50_ms=p50.get(engine.name)) for engine in manifest.engines)
    keys = ("cpu", "architecture", "cores", "os", "gpus", "driver")
    machine = {key: facts["machine"][key] for key in keys}
    return dataclasses.replace(manifest, measured=True, engines=engines, measured_on=machine, files={})


def _tell(compared: Mapping[str, Any], gain: Mapping[str, Any] | None) -> None:
    """The two answers that a run is made for, in the log."""
    nets = ", ".join(f"{net} {100 * compared[f'{net}_map']:.1f}" for net in NETS)
    low, difference, high = (100 * compared[key] for key in ("low", "difference", "high"))
    log.info("test mAP: %s; student - baseline %+.1f (95 %%: %+.1f to %+.1f)", nets, difference, low, high)
    for what in ("f32", "bf16"):
        if gain is not None and gain[f"vs_{what}"] is not None:
            kept = 100 * (gain[f"kept_of_{what}_map"] or 0)
            log.info("%s: %.2f times as fast as %s, %.1f %% of its mAP", gain["name"], gain[f"vs_{what}"], what, kept)


def _note_on_teachers(recipe: Recipe) -> list[str]:
    """Why the teacher's mAP may come without a latency."""
    if recipe.teacher and not recipe.ready_teachers:
        return []
    kinds = [*(["trained here"] if recipe.teacher else []), *(ready.kind for ready in recipe.ready_teachers)]
    told = f"teacher: {', '.join(kinds)}{', as one' if len(kinds) > 1 else ''}"
    return [told if kinds == ["checkpoint"] else f"{told}; not timed"]


def _note_on_labels(test: Split) -> list[str]:
    """The labels that mAP cannot count."""
    absent = ", ".join(test.labels.names[label] for label in labels_without_positives(test.targets, test.known))
    return [f"No test picture is known to have: {absent}. mAP is the mean over the other labels."] if absent else []


def _notes(manifest: Manifest, rows: list[dict[str, Any]]) -> list[str]:
    notes = []
    if manifest.composed:
        notes.append("The pictures are composed from cut-outs and backgrounds; they are no photographs of real scenes.")
    notes += [f"Licence: {licence}" for licence in manifest.licences]
    for row in rows:
        if row["status"] != "measured":
            notes.append(f"{row['name']}: {row['status']}: {row['reason']}")
        elif row.get("built_here"):
            notes.append(f"{row['name']}: built on this machine, not the bundle's own file")
    return notes
