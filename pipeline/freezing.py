"""Stages at both ends of freezing the student: onnx, bundle."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from importlib import metadata

from export.backends import OnnxRuntime
from export.bundle import EngineEntry, Manifest, Parts, write_bundle
from export.parity import check
from export.to_onnx import to_onnx
from mlkd import evaluate
from mlkd.checkpoint import load_labels, load_model
from mlkd.images import PREPROCESSING
from pipeline.precisions import FP32
from pipeline.recipe import Recipe
from pipeline.result import read_json
from pipeline.stage import Context
from pipeline.validation import Val

log = logging.getLogger(__name__)

PACKAGES = ("torch", "timm", "onnx", "onnxruntime-gpu", "openvino", "nncf", "tensorrt-rtx-cu13", "numpy", "pillow")


def onnx(recipe: Recipe, recipe_hash: str, context: Context) -> None:
    """The float graph, held to the net on real pictures of val."""
    tagger, labels = load_model(context.inputs["student"]), load_labels(context.inputs["student"])
    graph = to_onnx(tagger, labels, tagger.image_px, context.out / FP32, recipe_hash=recipe_hash)
    val = Val.read(recipe, context.inputs["data"])
    expected = val.scores(lambda images: evaluate.scores(tagger, images))
    with OnnxRuntime().open_graph(graph) as session:
        parity = val.parity(expected, val.scores(session), val.thresholds(expected), seed=recipe.seed)
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
    built, about = context.inputs["engines"], read_json(context.inputs["data"] / "about.json")
    sources = {file.relative_to(built).as_posix(): file for file in sorted((built / "models").glob("*.onnx"))}
    entries = []
    for facts in read_json(built / "engines.json")["engines"]:
        sources |= {path: built / path for path in facts["files"]}
        names = ("name", "backend", "precision", "graph", "thresholds_from", "tune_map")
        entries.append(
            EngineEntry(
                **{name: facts[name] for name in names},
                file=facts["files"][0],
                files=tuple(facts["files"]),
                thresholds=tuple(facts["thresholds"]),
            )
        )
    model = recipe.student.model
    licence = model.weights.licence(model.backbone)
    manifest = Manifest(
        recipe=recipe.name,
        recipe_hash=recipe_hash,
        labels=load_labels(context.inputs["student"]).names,
        image_px=model.image_px,
        preprocessing=dict(PREPROCESSING),
        composed=about["composed"],
        measured=False,
        provenance=about["provenance"],
        licences=(*about["licences"], *([licence] if licence else [])),
        versions={name: metadata.version(name) for name in PACKAGES if _installed(name)},
        engines=tuple(entries),
    )
    write_bundle(Parts(manifest=manifest, sources=sources), context.out / "bundle")


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True
