"""Stage references: teacher and baseline exported like the student, to compare latency and mAP with it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from benchmarks.accuracy import ReferenceScores, Truth
from benchmarks.device import machine
from benchmarks.device.output import ScoreResult
from benchmarks.measured_models import Bundle, MeasuredEngine, MeasuredModel, ScoredEngines, model_of_bundle, refusing
from benchmarks.parsing import parse, to_json
from benchmarks.remote import Local
from benchmarks.run import Job, score_engines
from benchmarks.schema import Row, ScoreSource
from export.bundle.bundle import MANIFEST
from mlkd.data.prepared import read_split
from pipeline import teachers
from pipeline.recipe.device_list import HERE
from pipeline.recipe.reference_engines import select_engines
from pipeline.recipe.schema import INT8, Recipe
from pipeline.references import scores, torch_rows
from pipeline.references.bundles import export_model
from pipeline.runner.result import read_json, write_json
from pipeline.runner.stage import Context
from pipeline.stages.precisions import CALIBRATION

log = logging.getLogger(__name__)

FACTS = "references.json"
NOTE = (
    "The references' int8 graphs have their ranges from the images that calibrated the student's, by one method "
    "(min_max in Q/DQ graphs, NNCF's own in OpenVINO's): no other was tried, no layer left in float, nothing trained."
)


def run(recipe: Recipe, context: Context) -> None:
    """Score the test set with the float32 models and their engines; write a bundle of each model, named after it.

    The teacher is exported only if it is a single TaggerNet.  FACTS names what could not be made, with the reason.
    """
    scores.write(recipe, context)
    teacher, selected = teachers.alone(recipe, context.inputs), select_engines(recipe)
    nets = {"teacher": teacher} if teacher else {}
    if recipe.bench.all_references:
        nets["baseline"] = context.inputs["baseline"]
    rounded = any(engine.precision in INT8 for engine in selected)
    calibrated = read_json(context.inputs["precisions"] / CALIBRATION)["sha256"] if rounded else ()
    failed = []
    for done, (net, folder) in enumerate(nets.items()):
        context.progress("references", done, len(nets))
        for engine, reason in export_model(recipe, context, net, folder, selected, calibrated).items():
            log.warning("references: %s-%s is left out: %s", net, engine.name, reason)
            why = {"runtime": engine.backend.kind, "precision": engine.precision, "reason": reason}
            failed.append({"model": net, "name": f"{net}-{engine.name}", **why})
    context.progress("references", len(nets), len(nets))
    engines = _score(recipe, context)
    if recipe.bench.torch_compile:
        context.progress("torch.compile", 0, 1)
        files, student = read_split(context.inputs["data"], "test").files, scores.read(context.out)["student"]
        torch_rows.compile_student(context.inputs["student"], student, recipe.bench.threads, files, context.out)
    results = {"source": engines.source, "results": engines.results}
    facts = {"failed": failed, "notes": [NOTE] if rounded else [], "scored": results}
    write_json(context.out / FACTS, to_json(facts))


def scored(folder: Path) -> ScoredEngines:
    """Read the scores of the references' engines from the folder of this stage."""
    facts = read_json(folder / FACTS)["scored"]
    results = parse(dict[str, ScoreResult], facts["results"])
    return ScoredEngines(parse(ScoreSource, facts["source"]), folder / "scores", results)


def _score(recipe: Recipe, context: Context) -> ScoredEngines:
    """Score the test set with every engine that was made, by its own program on this machine."""
    test, here = read_split(context.inputs["data"], "test"), machine.describe()
    (context.out / "scores").mkdir(exist_ok=True)
    with closing(Local(HERE)) as device:
        bundles = [Bundle(path.parent, path.parent.name, "reference") for path in context.out.glob(f"*/{MANIFEST}")]
        models = [
            model_of_bundle(bundle, device.place(bundle.folder), {}, device=HERE.name, threads=1) for bundle in bundles
        ]
        truth = Truth(files=test.files, targets=test.targets, groups=test.clusters)
        job = Job(device, truth, test.labels.names, recipe.bench, context.out, progress=context.progress)
        return score_engines(job, models, device.copy_images(test.files), here)


def in_torch(recipe: Recipe, context: Context, nets: Mapping[str, ReferenceScores]) -> list[MeasuredModel]:
    """Return what the stage bench measures besides bundles: models in torch, and rows of references without engine."""
    wanted = recipe.bench.all_references or recipe.bench.torch_compile
    measured = list(torch_rows.measured_models(recipe, context.inputs, nets, HERE.name)) if wanted else []
    for entry in read_json(context.inputs["references"] / FACTS)["failed"]:
        known = {key: entry[key] for key in ("name", "model", "runtime", "precision")}
        row = Row(**known, device=HERE.name, kind="reference", threads=recipe.bench.threads)
        measured.append(MeasuredModel(refusing(entry["reason"]), (MeasuredEngine(row.name, row, ()),)))
    return measured


def notes(folder: Path) -> list[str]:
    """Return what readers should know of the references in the folder of this stage."""
    texts: list[str] = read_json(folder / FACTS)["notes"]
    return texts
