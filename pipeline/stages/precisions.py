"""Stages between the float graph and the engines: graphs of every precision, and training where int8 needs it."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export.onnx.to_onnx import to_onnx
from export.precision import calibration, int8
from export.precision.budget import Budget
from export.precision.fp16 import fp16
from export.precision.places import read_places
from export.precision.qdq import quantise
from export.precision.ranges import METHODS, Ranges, calibrate
from export.precision.select_evaluator import Judge, score
from mlkd import quantisation_aware as learned
from mlkd.data.prepared import read_split
from mlkd.models.checkpoint import load_labels
from mlkd.quantisation_aware import QuantisationAware
from mlkd.training.config import Training
from mlkd.training.trainer import train
from pipeline import teachers
from pipeline.int8_graphs import CALIBRATION, FAMILIES, OPENVINO, SUMMARY, Fitting
from pipeline.recipe.schema import INT8, Recipe
from pipeline.runner import ranks
from pipeline.runner.result import read_json
from pipeline.runner.stage import Context

log = logging.getLogger(__name__)

FP32 = "fp32.onnx"
WHOLE = "whole.onnx"  # the signed graph with every layer in int8: where training rounds
LEARNED = "learned"


def precisions(recipe: Recipe, context: Context) -> None:
    """Graphs of every precision that the engines ask for, int8 within the budget where that needs no training."""
    float_graph = _float_graphs(recipe, context.inputs["onnx"] / FP32, context)
    families = _families(recipe)
    if families:
        images = _calibration(recipe, context)
        ranges: dict[str, Ranges] = {method: calibrate(float_graph, images, method) for method in METHODS}
        work = Fitting(context, float_graph, dict.fromkeys(FAMILIES, ranges), images, recipe.export.budget)
        if not all(entry.quality.fits for entry in work.fit(families, _judge(recipe, context, float_graph))):
            quantise(float_graph, ranges["percentile"], context.out / WHOLE, int8.FAMILY)


def quantisation_aware(recipe: Recipe, recipe_hash: str, context: Context) -> None:
    """Train the student with rounding where a family does not fit otherwise, and make all graphs of it anew.

    Nothing is trained where all fit.
    """
    before = context.inputs["precisions"]
    over = [entry["precision"] for entry in _facts(before)["precisions"] if not entry["quality"]["fits"]]
    if not over or not recipe.export.budget.epochs:
        return
    log.info("quantisation_aware: training, because %s over the budget", " and ".join(over))
    places = read_places(onnx.load(before / WHOLE))
    model = QuantisationAware(model=recipe.student.model, start=context.inputs["student"], places=places)
    train(
        model,
        _fine_tuning(recipe.student.training, recipe.export.budget),
        recipe.views,
        context.inputs["data"],
        context.out,
        seed=recipe.seed,
        teacher_outputs=context.inputs["teacher_outputs"],
        teacher=teachers.net(recipe, context.inputs),
        progress=context.progress,
    )
    if ranks.is_first():
        _freeze_trained(recipe, recipe_hash, context)


def _freeze_trained(recipe: Recipe, recipe_hash: str, context: Context) -> None:
    """All graphs from the weights that were trained with rounding, held to the student's mAP."""
    labels, image_px = load_labels(context.inputs["student"]), recipe.student.model.image_px
    made = to_onnx(learned.float_tagger(context.out), labels, image_px, context.out / FP32, recipe_hash=recipe_hash)
    graph = _float_graphs(recipe, made, context)
    images = _calibration(recipe, context)
    seen, found = calibrate(graph, images, "min_max"), learned.learned_ranges(context.out)
    ranges = {"int8": {LEARNED: {**seen, **found}}, "int8_x86": {LEARNED: {**seen, **_narrowed(seen, found)}}}
    judge = _judge(recipe, context, graph)
    goal = score(context.inputs["onnx"] / FP32, judge.pixels)
    work = Fitting(context, graph, ranges, images, recipe.export.budget)
    work.fit(_families(recipe), dataclasses.replace(judge, goal=goal))


def graphs(inputs: Mapping[str, Path]) -> tuple[dict[str, Path], dict[str, Any]]:
    """By precision the graph that ships, and how each int8 family came out.

    All graphs are of the same weights: those trained with rounding, float graphs included, where more families keep
    their budget with them, and the student's otherwise.  `inputs` holds the folders of both stages.
    """
    before, after = (_facts(inputs[name]) for name in ("precisions", "quantisation_aware"))
    trained = bool(after["precisions"]) and _worth(after) > _worth(before)
    ships, other = (after, before) if trained else (before, after)
    tried = {entry["precision"]: entry["kept"] for entry in other["precisions"]}
    told = [{**entry, "kept_by_other_weights": tried.get(entry["precision"])} for entry in ships["precisions"]]
    found = _files(inputs["quantisation_aware" if trained else "precisions"])
    return found, {**ships, "precisions": told, "trained": trained}


def _worth(facts: Mapping[str, Any]) -> tuple[int, float]:
    """How many families keep their budget, then what the worst of them keeps."""
    entries = facts["precisions"]
    return sum(entry["quality"]["fits"] for entry in entries), min(entry["kept"] for entry in entries)


def _files(folder: Path) -> dict[str, Path]:
    onnx = {file.stem: file for file in sorted((folder / "models").glob("*.onnx"))}
    network = folder / OPENVINO
    return onnx | ({"int8_openvino": network} if network.is_file() else {})


def _facts(folder: Path) -> dict[str, Any]:
    """What the stage there wrote about int8; of a stage that made none, no precisions."""
    file = folder / SUMMARY
    facts: dict[str, Any] = read_json(file) if file.is_file() else {"precisions": []}
    return facts


def over_budget(told: Sequence[Mapping[str, Any]], budget: Budget) -> None:
    """ValueError unless every int8 family keeps what the budget wants, or the recipe allows less."""
    over = [
        f"{entry['precision']} keeps {entry['kept']:.2%} of the float mAP"
        for entry in told
        if not entry["quality"]["fits"]
    ]
    if over and not budget.allow:
        raise ValueError(
            f"export.budget: expected int8 to keep {budget.keep:.2%} on select, got: {'; '.join(over)}; give it more "
            "epochs or float_layers, leave its engines out, or say allow: true to ship it all the same"
        )
    for entry in over:
        log.warning("over budget, shipped because the recipe allows it: %s", entry)


def _narrowed(seen: Ranges, found: Ranges) -> dict[str, tuple[float, float]]:
    """Learned ranges without what no activation reaches: they are symmetric, unsigned numbers need not be."""
    return {name: (max(low, seen[name][0]), min(high, seen[name][1])) for name, (low, high) in found.items()}


def _families(recipe: Recipe) -> list[str]:
    wanted = {engine.precision for engine in recipe.export.engines}
    return [name for name in INT8 if name in wanted]


def _float_graphs(recipe: Recipe, graph: Path, context: Context) -> Path:
    """Write models/fp32.onnx and, if an engine asks for it, models/fp16.onnx; the first."""
    models = context.out / "models"
    models.mkdir(exist_ok=True)
    if "fp16" in {engine.precision for engine in recipe.export.engines}:
        fp16(graph, models / "fp16.onnx")
    return Path(shutil.copyfile(graph, models / FP32))


def _judge(recipe: Recipe, context: Context, graph: Path) -> Judge:
    """Of select, with a float graph as the reference."""
    select = read_split(context.inputs["data"], "select")
    pixels = select.pixels(recipe.student.model.image_px)
    return Judge(pixels, select.targets, select.clusters, score(graph, pixels), select.known)


def _calibration(recipe: Recipe, context: Context) -> NDArray[np.uint8]:
    """Training pictures that cover every label; which ones is written down."""
    data = context.inputs["data"]
    train = read_split(data, "train")
    rows = calibration.choose(train.targets, train.hashes, recipe.export.calibration_pictures, recipe.seed)
    chosen = {train.names[row]: train.hashes[row] for row in rows}
    held_out = {name: read_split(data, name).hashes for name in ("select", "tune", "test")}
    calibration.refuse_held_out(chosen, held_out)
    covers = {"pictures": len(rows), "labels": int(train.targets[rows].any(0).sum())}
    text = json.dumps({"covers": covers, "sha256": chosen}, indent=1, ensure_ascii=False)
    (context.out / CALIBRATION).write_text(text + "\n", encoding="utf-8")
    return np.array(train.pixels(recipe.student.model.image_px)[rows])


def _fine_tuning(training: Training, budget: Budget) -> Training:
    """The student's training, gently: all of it learns, and every loss counts in full from the first step.

    But for losses with adapters, which begin anew: they take an epoch at least.
    """
    ramps = {
        loss: max(1.0, min(loss.ramp_epochs, budget.epochs)) if "features" in loss.needs else 0
        for loss in training.losses
    }
    return dataclasses.replace(
        training,
        epochs=budget.epochs,
        learning_rate=budget.learning_rate,
        stop_epoch=0,
        frozen_groups=0,
        losses=tuple(dataclasses.replace(loss, ramp_epochs=epochs) for loss, epochs in ramps.items()),
    )
