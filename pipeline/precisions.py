"""Stages between the float graph and the engines: graphs of every precision, and training where int8 needs it."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export import stamp
from export.precision import calibration, int8, int8_x86
from export.precision.budget import Budget
from export.precision.fit import RUNTIME, Fitted, Judge, fit_openvino, fit_qdq
from export.precision.fp16 import fp16
from export.precision.places import read_places
from export.precision.qdq import quantise
from export.precision.ranges import METHODS, Ranges, calibrate
from export.to_onnx import to_onnx
from mlkd import quantisation_aware as learned
from mlkd.checkpoint import load_labels
from mlkd.data.prepared import read_split
from mlkd.quantisation_aware import QuantisationAware
from mlkd.train import train
from mlkd.training import Training
from pipeline import ranks, teaching
from pipeline.recipe import INT8, Recipe
from pipeline.result import read_json
from pipeline.stage import Context

log = logging.getLogger(__name__)

FP32, SUMMARY, CALIBRATION = "fp32.onnx", "precisions.json", "calibration.json"
FAMILIES = {"int8": int8.FAMILY, "int8_x86": int8_x86.FAMILY}
OPENVINO = "openvino/int8_openvino.xml"
WHOLE = "whole.onnx"  # the signed graph with every layer in int8: where training rounds
LEARNED = "learned"


def precisions(recipe: Recipe, context: Context) -> None:
    """Graphs of every precision that the engines ask for, int8 within the budget where that needs no training."""
    models = context.out / "models"
    models.mkdir(exist_ok=True)
    float_graph = Path(shutil.copyfile(context.inputs["onnx"] / FP32, models / FP32))
    wanted = {engine.precision for engine in recipe.export.engines}
    if "fp16" in wanted:
        fp16(float_graph, models / "fp16.onnx")
    families = [name for name in INT8 if name in wanted]
    if families:
        images = _calibration(recipe, context)
        ranges: dict[str, Ranges] = {method: calibrate(float_graph, images, method) for method in METHODS}
        judge = _judge(recipe, context)
        fitted = _fit(
            context, float_graph, dict.fromkeys(FAMILIES, ranges), images, families, judge, recipe.export.budget
        )
        if not all(entry.fits for entry in fitted):
            quantise(float_graph, ranges["percentile"], context.out / WHOLE, int8.FAMILY)


def quantisation_aware(recipe: Recipe, recipe_hash: str, context: Context) -> None:
    """Train the student with rounding for the families that do not fit otherwise, and make their graphs of it.

    Nothing is trained where all fit.
    """
    before = context.inputs["precisions"]
    over = [entry["precision"] for entry in _facts(before)["precisions"] if not entry["fits"]]
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
        teacher=teaching.net(recipe, context.inputs),
        progress=context.progress,
    )
    if not ranks.is_first():
        return
    labels, image_px = load_labels(context.inputs["student"]), recipe.student.model.image_px
    out = context.out / FP32
    graph = to_onnx(learned.float_tagger(context.out), labels, image_px, out, recipe_hash=recipe_hash)
    images = _calibration(recipe, context)
    seen, found = calibrate(graph, images, "min_max"), learned.learned_ranges(context.out)
    ranges = {"int8": {LEARNED: {**seen, **found}}, "int8_x86": {LEARNED: {**seen, **_narrowed(seen, found)}}}
    judge = dataclasses.replace(_judge(recipe, context), float_scores=None)  # these weights have learned to be rounded
    _fit(context, graph, ranges, images, over, judge, recipe.export.budget)


def graphs(inputs: Mapping[str, Path]) -> tuple[dict[str, Path], dict[str, Any]]:
    """By precision the graph that ships, and how each int8 family came out: trained where that is better.

    `inputs` holds the folders of both stages.  What OpenVINO's graph was made from is among them.
    """
    found, told = _files(inputs["precisions"]), _facts(inputs["precisions"])
    trained = _files(inputs["quantisation_aware"])
    after = {entry["precision"]: entry for entry in _facts(inputs["quantisation_aware"])["precisions"]}
    for place, entry in enumerate(told["precisions"]):
        better = after.get(entry["precision"], entry)
        moved = entry["moved"]
        entry["trained"] = better["select_map"] > entry["select_map"]
        tried = entry["tried"] | ({} if better is entry else {f"{k}, trained": v for k, v in better["tried"].items()})
        if entry["trained"]:
            found[better["precision"]] = trained[better["precision"]]
            entry = {**better, "calibrator": f"{better['calibrator']}, trained", "trained": True}
        told["precisions"][place] = {**entry, "tried": tried, "moved": moved}
    if "int8_openvino" in found:
        source = _source(found["int8_openvino"], inputs)
        if source not in found.values():
            found["int8_openvino_source"] = source
    return found, told


def _source(network: Path, inputs: Mapping[str, Path]) -> Path:
    """The ONNX that OpenVINO's graph was made from."""
    origin = stamp.origin(network)
    folders = (inputs["precisions"], inputs["quantisation_aware"])
    every = (file for folder in folders for file in sorted(folder.rglob("*.onnx")))
    return next(file for file in every if stamp.hash_of(file) == origin)


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
    over = [f"{entry['precision']} keeps {entry['kept']:.2%} of the float mAP" for entry in told if not entry["fits"]]
    if over and not budget.allow:
        raise ValueError(
            f"export.budget: expected int8 to keep {budget.keep:.2%} on select, got: {'; '.join(over)}; give it more "
            "epochs or float_layers, leave its engines out, or say allow: true to ship it all the same"
        )
    for entry in over:
        log.warning("over budget, shipped because the recipe allows it: %s", entry)


def _fit(
    context: Context,
    graph: Path,
    ranges: Mapping[str, Mapping[str, Ranges]],
    images: NDArray[np.uint8],
    families: Sequence[str],
    judge: Judge,
    budget: Budget,
) -> list[Fitted]:
    """Write models/FAMILY.onnx and openvino/int8_openvino.xml, made from `graph`, and what became of them."""
    fitted: list[Fitted] = []
    for done, name in enumerate(families):
        context.progress("int8", done, len(families))
        if name == "int8_openvino":
            qdq = _candidates(context, graph, ranges)
            fitted.append(fit_openvino(graph, qdq, images, judge, budget, context.out / OPENVINO))
        else:
            fitted.append(
                fit_qdq(graph, ranges[name], FAMILIES[name], judge, budget, _graph(context, name), context.progress)
            )
        _tell(fitted[-1])
    context.progress("int8", len(families), len(families))
    facts = {
        "keep": budget.keep,
        "float_map": judge.float_map,
        "pictures": len(judge.pixels),
        "calibration": read_json(context.out / CALIBRATION)["covers"],
        "precisions": [_told(entry) for entry in fitted],
    }
    (context.out / SUMMARY).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return fitted


def _candidates(context: Context, graph: Path, ranges: Mapping[str, Mapping[str, Ranges]]) -> list[Path]:
    """Q/DQ graphs that OpenVINO may take: those made already; of a trained net, whose ranges NNCF ignores, all."""
    files = []
    for family, by_name in ranges.items():
        file = _graph(context, family)
        if not file.is_file() and LEARNED in by_name:
            file = context.out / "candidates" / file.name
            quantise(graph, by_name[LEARNED], file, FAMILIES[family])
        files += [file] if file.is_file() else []
    return files


def _narrowed(seen: Ranges, found: Ranges) -> dict[str, tuple[float, float]]:
    """Learned ranges without what no activation reaches: they are symmetric, unsigned numbers need not be."""
    return {name: (max(low, seen[name][0]), min(high, seen[name][1])) for name, (low, high) in found.items()}


def _graph(context: Context, family: str) -> Path:
    return context.out / "models" / f"{family}.onnx"


def _judge(recipe: Recipe, context: Context) -> Judge:
    """Of select, with the student's float graph as the measure."""
    select = read_split(context.inputs["data"], "select")
    pixels, rows = select.pixels(recipe.student.model.image_px), np.arange(len(select.targets))
    judge = Judge(pixels, select.targets, select.known, float_map=0.0)
    scores = judge.scores_of(RUNTIME, context.inputs["onnx"] / FP32, rows)
    return dataclasses.replace(judge, float_map=judge.map_of_scores(scores, rows), float_scores=scores)


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


def _told(fitted: Fitted) -> dict[str, Any]:
    verdict = "within the budget" if fitted.fits else "over the budget"
    return {**asdict(fitted), "verdict": verdict}


def _tell(fitted: Fitted) -> None:
    floats = f", {len(fitted.float_layers)} layers in float" if fitted.float_layers else ""
    verdict = "" if fitted.fits else ": over the budget"
    log.info(
        "%s: keeps %.2f %% of the float mAP (%s%s)%s",
        fitted.precision,
        100 * fitted.kept,
        fitted.calibrator,
        floats,
        verdict,
    )
