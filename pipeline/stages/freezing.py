"""Stages at both ends of freezing the student: onnx, bundle."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from export.backends import OnnxRuntime
from export.backends.stamp import hash_of
from export.bundle.bundle import EngineEntry, Manifest, Parts, write_bundle
from export.onnx.parity import check
from export.onnx.to_onnx import to_onnx
from mlkd.core.images import PREPROCESSING
from mlkd.core.thresholds import Thresholds
from mlkd.data.prepared import read_split
from mlkd.models.checkpoint import load_labels, load_model
from mlkd.training import evaluate
from pipeline.recipe.schema import Recipe
from pipeline.runner.identity import contents
from pipeline.runner.result import read_json
from pipeline.runner.stage import Context
from pipeline.stages.golden import FOLDER as GOLDEN
from pipeline.stages.golden import golden
from pipeline.stages.precisions import FP32
from pipeline.validation import Val

log = logging.getLogger(__name__)

PACKAGES = ("torch", "timm", "onnx", "onnxruntime-gpu", "openvino", "nncf", "tensorrt-rtx-cu13", "numpy", "pillow")


def onnx(recipe: Recipe, recipe_hash: str, context: Context) -> None:
    """The float graph, held to the net on real pictures of val."""
    tagger, labels = load_model(context.inputs["student"]), load_labels(context.inputs["student"])
    graph = to_onnx(tagger, labels, tagger.image_px, context.out / FP32, recipe_hash=recipe_hash)
    aim = Thresholds()  # the recipe's would make a change of it a change of the graph
    val = dataclasses.replace(Val.read(recipe, context.inputs["data"]), aim=aim)
    expected = val.scores(lambda images: evaluate.scores(tagger, images))
    with OnnxRuntime().open_graph(graph) as session:
        parity = val.parity(expected, val.scores(session), val.thresholds(expected))
    (context.out / "parity.json").write_text(json.dumps(asdict(parity), indent=1) + "\n", encoding="utf-8")
    log.info(
        "onnx: scores differ by at most %.2g, %.3g %% of decisions flip, mAP %+.3f",
        parity.max_difference,
        100 * parity.flipped,
        100 * parity.delta_map,
    )
    check(parity, recipe.export.parity.fp32, FP32)


def bundle(recipe: Recipe, recipe_hash: str, context: Context) -> None:
    """Everything that ships, with a manifest; not measured yet."""
    data, built = context.inputs["data"], context.inputs["engines"]
    about, tune = read_json(data / "about.json"), read_split(data, "tune")
    engines = read_json(built / "engines.json")["engines"]
    labels = load_labels(context.inputs["student"])
    pictures, expected = golden(recipe, labels, data, built, engines, context.out / GOLDEN)
    sources = {file.relative_to(built).as_posix(): file for file in sorted((built / "models").glob("*.onnx"))}
    sources |= {path: built / path for facts in engines for path in facts["files"]}
    sources |= {f"{GOLDEN}/{file.name}": file for file in (*pictures, expected)}
    positive = tune.targets if tune.known is None else tune.targets * tune.known
    manifest = Manifest(
        recipe=recipe.name,
        recipe_hash=recipe_hash,
        recipe_content=content_of(recipe),
        labels=labels.names,
        image_px=recipe.student.model.image_px,
        preprocessing=dict(PREPROCESSING),
        composed=about["composed"],
        measured=False,
        provenance=about["provenance"],
        licences=tuple(about["licences"]),
        weights=_weights(recipe),
        versions={name: metadata.version(name) for name in PACKAGES if _installed(name)},
        tune_pictures=len(tune),
        tune_positives=tuple(positive.sum(0).tolist()),
        golden=tuple(f"{GOLDEN}/{file.name}" for file in pictures),
        golden_expected=f"{GOLDEN}/{expected.name}",
        engines=tuple(_entry(facts, built) for facts in engines),
    )
    write_bundle(Parts(manifest=manifest, sources=sources), context.out / "bundle")
    shutil.rmtree(context.out / GOLDEN)


def content_of(recipe: Recipe) -> dict[str, Any]:
    """What made the bundle, for the manifest: no paths, and nothing of measuring and comparing."""
    return {name: value for name, value in contents(recipe).items() if name not in ("bench", "compare", "minutes")}


def _entry(facts: Mapping[str, Any], built: Path) -> EngineEntry:
    same = ("name", "backend", "precision", "graph", "thresholds_from", "tune_map", "meant_for", "judged_in")
    listed = ("files", "thresholds", "expected_precision", "expected_recall", "tune_ap")
    known: dict[str, Any] = {name: facts[name] for name in same} | {name: tuple(facts[name]) for name in listed}
    return EngineEntry(**known, file=facts["files"][0], thresholds_sha256=hash_of(built / facts["thresholds_of"]))


def _weights(recipe: Recipe) -> tuple[str, ...]:
    """What the student's and, as it was learnt from, the teacher's training began from."""
    nets = {"student": recipe.student, **({"teacher": recipe.teacher} if recipe.teacher else {})}
    told = []
    for name, net in nets.items():
        licence = net.model.weights.licence(net.model.backbone)
        told.append(f"{name}: {licence or f'{net.model.backbone}, from random weights'}")
    return (*told, *(f"teacher: a ready one, {ready.kind}, under its own licence" for ready in recipe.ready_teachers))


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True
