"""Stages that freeze the student: onnx, engines, bundle."""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.backends import OnnxRuntime
from export.bundle import EngineEntry, Manifest, Parts, write_bundle
from export.parity import check, compare
from export.precision import calibration
from export.precision.fp16 import fp16
from export.precision.int8 import int8
from export.precision.int8_openvino import int8_openvino
from export.precision.int8_x86 import int8_x86
from export.to_onnx import to_onnx
from mlkd import evaluate
from mlkd.checkpoint import load_labels, load_model
from mlkd.data.prepared import Split, read_split
from mlkd.images import PREPROCESSING
from mlkd.metrics import mean_average_precision, tune_thresholds
from pipeline.recipe import Engine, Recipe
from pipeline.result import read_json
from pipeline.stage import Context

log = logging.getLogger(__name__)

FP32 = "fp32.onnx"
Quantise = Callable[[Path, NDArray[np.uint8], Path], Path]
INT8: dict[str, Quantise] = {"int8": int8, "int8_x86": int8_x86, "int8_openvino": int8_openvino}
PACKAGES = ("torch", "timm", "onnx", "onnxruntime-gpu", "openvino", "nncf", "tensorrt-rtx-cu13", "numpy", "pillow")


def onnx(recipe: Recipe, recipe_hash: str, context: Context) -> None:
    """The float graph, held to the net on real pictures of val."""
    tagger, labels = load_model(context.inputs["student"]), load_labels(context.inputs["student"])
    graph = to_onnx(tagger, labels, tagger.image_px, context.out / FP32, recipe_hash=recipe_hash)
    halves = [read_split(context.inputs["data"], name) for name in ("select", "tune")]
    pixels = np.concatenate([half.pixels(tagger.image_px) for half in halves])
    targets = np.concatenate([half.targets for half in halves])
    known = np.concatenate([np.ones(half.targets.shape, bool) if half.known is None else half.known for half in halves])
    expected = evaluate.scores(tagger, pixels)
    thresholds = tune_thresholds(expected[len(halves[0]) :], halves[1].targets, halves[1].known)
    with OnnxRuntime().open(graph) as session:
        parity = compare(lambda images: evaluate.scores(tagger, images), session, pixels, targets, thresholds, known)
    (context.out / "parity.json").write_text(json.dumps(asdict(parity), indent=1) + "\n", encoding="utf-8")
    log.info(
        "onnx: scores differ by at most %.2g, %.3g %% of decisions flip, mAP %+.3f",
        parity.max_difference,
        100 * parity.flipped,
        100 * parity.delta_map,
    )
    check(parity, recipe.export.parity, FP32)


def engines(recipe: Recipe, context: Context) -> None:
    """Graphs of every precision, engines compiled from them, and thresholds from each engine's own scores."""
    tune = read_split(context.inputs["data"], "tune")
    graphs = _graphs(recipe, context)
    work = _Work(recipe, tune, graphs, context.out / "engines")
    entries = []
    for done, engine in enumerate(recipe.export.engines):
        context.progress("engines", done, len(recipe.export.engines))
        entries.append(work.build(engine))
        log.info("engines: %s", _summary(entries[-1]))
    context.progress("engines", len(entries), len(entries))
    facts = [{**entry, "files": [str(file.relative_to(context.out)) for file in entry["files"]]} for entry in entries]
    (context.out / "engines.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def bundle(recipe: Recipe, recipe_hash: str, context: Context) -> None:
    """Everything that ships, with a manifest; not measured yet."""
    built, about = context.inputs["engines"], read_json(context.inputs["data"] / "about.json")
    sources = {file.relative_to(built).as_posix(): file for file in sorted((built / "models").glob("*.onnx"))}
    entries = []
    for facts in read_json(built / "engines.json"):
        sources |= {path: built / path for path in facts["files"]}
        names = ("name", "backend", "precision", "thresholds_from", "tune_map")
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


@dataclass(frozen=True)
class _Work:
    """What building an engine needs."""

    recipe: Recipe
    tune: Split
    graphs: dict[str, Path]
    out: Path

    def build(self, engine: Engine) -> dict[str, Any]:
        """One engine's file and its facts.

        An engine that cannot run here takes its thresholds from ONNX Runtime on the CPU, on the same graph.
        """
        graph = self.graphs[engine.precision]
        file = engine.backend.compile(graph, self._folder(engine))
        reason = engine.backend.missing()
        if reason is None:
            scores, scored_by = self._scores(engine.backend, file), engine.name
        else:
            scores, scored_by = self._scores(OnnxRuntime(), graph), f"onnxruntime, cpu, models/{graph.name}"
        tune_map = mean_average_precision(scores, self.tune.targets, self.tune.known)
        return {
            "name": engine.name,
            "backend": asdict(engine.backend),
            "precision": engine.precision,
            "files": engine.backend.files(file),
            "thresholds": [float(value) for value in tune_thresholds(scores, self.tune.targets, self.tune.known)],
            "thresholds_from": scored_by,
            "tune_map": None if math.isnan(tune_map) else tune_map,
            "not_run": reason,
        }

    def _folder(self, engine: Engine) -> Path:
        """ONNX Runtime's engine is the graph itself and stays where it is."""
        return self.graphs[engine.precision].parent if isinstance(engine.backend, OnnxRuntime) else self.out

    def _scores(self, backend: Any, file: Path) -> NDArray[np.float32]:
        pixels = self.tune.pixels(self.recipe.student.model.image_px)
        with backend.open(file) as session:
            return np.concatenate([session(np.array(pixels[at : at + 32])) for at in range(0, len(pixels), 32)])


def _graphs(recipe: Recipe, context: Context) -> dict[str, Path]:
    """By precision the graph, in models/; NNCF's is OpenVINO's own and needs no place in the bundle."""
    models = context.out / "models"
    models.mkdir(exist_ok=True)
    made = {"fp32": models / FP32}
    shutil.copyfile(context.inputs["onnx"] / FP32, made["fp32"])
    wanted = sorted({engine.precision for engine in recipe.export.engines} - {"fp32"})
    images = _calibration(recipe, context) if set(wanted) & INT8.keys() else None
    for done, precision in enumerate(wanted):
        context.progress("precisions", done, len(wanted))
        if precision == "fp16":
            made[precision] = fp16(made["fp32"], models / "fp16.onnx")
        else:
            assert images is not None
            made[precision] = INT8[precision](made["fp32"], images, _graph_file(context.out, precision))
    context.progress("precisions", len(wanted), len(wanted))
    return made


def _graph_file(out: Path, precision: str) -> Path:
    if precision == "int8_openvino":
        (out / "openvino").mkdir(exist_ok=True)
        return out / "openvino" / "int8.xml"
    return out / "models" / f"{precision}.onnx"


def _calibration(recipe: Recipe, context: Context) -> NDArray[np.uint8]:
    """Training pictures that cover every label; which ones is written down."""
    train = read_split(context.inputs["data"], "train")
    rows = calibration.choose(train.targets, train.hashes, recipe.export.calibration_pictures, recipe.seed)
    chosen = {train.names[row]: train.hashes[row] for row in rows}
    (context.out / "calibration.json").write_text(json.dumps(chosen, indent=1) + "\n", encoding="utf-8")
    return np.array(train.pixels(recipe.student.model.image_px)[rows])


def _summary(entry: dict[str, Any]) -> str:
    ran = "" if entry["not_run"] is None else f"; built, not run: {entry['not_run']}"
    found = "no mAP" if entry["tune_map"] is None else f"mAP {100 * entry['tune_map']:.2f}"
    return f"{entry['name']} has {found} on tune{ran}"


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True
