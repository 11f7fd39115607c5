"""Stage precisions: a graph for every precision that the engines need."""

from __future__ import annotations

import functools
import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.precision import calibration
from export.precision.budget import Budget
from export.precision.fp16 import fp16
from export.precision.int8 import FAMILIES
from export.precision.ranges import METHODS, Ranges, calibrate
from export.precision.search import PrecisionResult, fit_openvino, fit_qdq, take_qdq
from export.precision.select_evaluator import SelectEvaluator, score
from mlkd.data.prepared import read_split
from pipeline.recipe.schema import INT8, Recipe
from pipeline.runner.result import read_json, write_json
from pipeline.runner.stage import Context

log = logging.getLogger(__name__)

FP32 = "fp32.onnx"
OPENVINO = "openvino/int8_openvino.xml"
SUMMARY, CALIBRATION = "precisions.json", "calibration.json"


def run(recipe: Recipe, context: Context) -> None:
    """Export a graph for every precision that the engines need, int8 within the accuracy budget where possible."""
    precisions = {engine.precision for engine in recipe.export.engines}
    models, source = context.out / "models", context.inputs["onnx"] / FP32
    models.mkdir(exist_ok=True)
    if "fp16" in precisions:
        fp16(source, models / "fp16.onnx")
    float_graph = Path(shutil.copyfile(source, models / FP32))
    families = [name for name in INT8 if name in precisions]
    if families:
        images = _calibration(recipe, context)
        ranges: dict[str, Callable[[], Ranges]] = {
            method: functools.cache(partial(calibrate, float_graph, images, method)) for method in METHODS
        }
        select = read_split(context.inputs["data"], "select")
        pixels = select.pixels(recipe.student.model.image_px)
        reference = score(float_graph, pixels)
        evaluator = SelectEvaluator(pixels, select.targets, select.clusters, reference, select.label_mask)
        _Int8(context, float_graph, ranges, images, evaluator, recipe.export.budget).write(families)


def graphs(folder: Path) -> tuple[dict[str, Path], dict[str, Any]]:
    """Read what `precisions` wrote to its folder: the graphs by precision, and the results of the int8 families."""
    files = {file.stem: file for file in sorted((folder / "models").glob("*.onnx"))}
    network, summary = folder / OPENVINO, folder / SUMMARY
    if network.is_file():
        files["int8_openvino"] = network
    return files, read_json(summary) if summary.is_file() else {"precisions": []}


def check_budget(results: Sequence[Mapping[str, Any]], budget: Budget) -> None:
    """Raise ValueError if an int8 family is over the accuracy budget and the recipe does not allow it."""
    over = [
        f"{entry['precision']} keeps {entry['kept']:.2%} of the float mAP"
        for entry in results
        if not entry["quality"]["fits"]
    ]
    if over and not budget.allow:
        raise ValueError(
            f"export.budget: expected int8 to keep {budget.keep:.2%} on select, got: {'; '.join(over)}; raise "
            "float_layers, remove the engines of that precision, or set allow: true to export them all the same"
        )
    for entry in over:
        log.warning("exported although over budget, because the recipe allows it: %s", entry)


@dataclass(frozen=True)
class _Int8:
    """What the int8 graphs of one float graph are made from; `ranges` by calibrator, computed when asked for."""

    context: Context
    graph: Path
    ranges: Mapping[str, Callable[[], Ranges]]
    images: NDArray[np.uint8]
    evaluator: SelectEvaluator
    budget: Budget

    def write(self, families: Sequence[str]) -> None:
        """Write models/FAMILY.onnx, openvino/int8_openvino.xml and the summary."""
        results: dict[str, PrecisionResult] = {}
        for done, name in enumerate(families):
            self.context.progress("int8", done, len(families))
            results[name] = self._openvino(results) if name == "int8_openvino" else self._qdq(name)
            _log(results[name])
        self.context.progress("int8", len(families), len(families))
        facts = {
            "keep": self.budget.keep,
            "float_map": self.evaluator.float_map,
            "images": len(self.evaluator.pixels),
            "calibration": read_json(self.context.out / CALIBRATION)["covers"],
            "precisions": [_to_json(result) for result in results.values()],
        }
        write_json(self.context.out / SUMMARY, facts)

    def _qdq(self, family: str) -> PrecisionResult:
        out, progress = self.context.out / "models" / f"{family}.onnx", self.context.progress
        return fit_qdq(self.graph, self.ranges, FAMILIES[family], self.evaluator, self.budget, out, progress)

    def _openvino(self, results: Mapping[str, PrecisionResult]) -> PrecisionResult:
        """NNCF's graph, or the Q/DQ graph for x86 if NNCF's is over budget and the other is better."""
        out = self.context.out / OPENVINO
        nncf = fit_openvino(self.graph, self.images, self.evaluator, self.budget, out)
        if nncf.quality.within_budget:
            return nncf
        graph = self.context.out / "models" / "int8_x86.onnx"
        qdq = results["int8_x86"] if "int8_x86" in results else self._qdq("int8_x86")
        chosen = take_qdq(nncf, qdq, graph, out)
        if chosen is nncf and "int8_x86" not in results:
            graph.unlink()
        return chosen


def _to_json(result: PrecisionResult) -> dict[str, Any]:
    """One entry of the summary, whose keys earlier versions wrote too."""
    quality = result.quality
    return {
        "precision": result.precision,
        "calibrator": result.calibrator,
        "tried": {name: calibration.select_map for name, calibration in result.calibrations.items()},
        "moved": {name: calibration.mean_score_drift for name, calibration in result.calibrations.items()},
        "kept": result.map_ratio,
        "quality": {
            "select_map": quality.select_map,
            "low": quality.low,
            "high": quality.high,
            "drift": quality.mean_score_drift,
            "drift_kept": quality.expected_map_ratio,
            "decided": quality.is_significant,
            "fits": quality.within_budget,
        },
        "float_layers": [asdict(entry) for entry in result.float_layers],
        "verdict": result.verdict,
    }


def _log(result: PrecisionResult) -> None:
    quality = result.quality
    log.info(
        "%s: %.2f %% of the float mAP (%s%s; 95 %%: %+.2f to %+.2f points; %.2f %% expected from score drift): %s",
        result.precision,
        100 * result.map_ratio,
        result.calibrator,
        f", {len(result.float_layers)} layers in float" if result.float_layers else "",
        100 * quality.low,
        100 * quality.high,
        100 * quality.expected_map_ratio,
        result.verdict,
    )


def _calibration(recipe: Recipe, context: Context) -> NDArray[np.uint8]:
    """Choose calibration images from train that cover every label, and record which."""
    data = context.inputs["data"]
    train = read_split(data, "train")
    rows = calibration.choose(train.targets, train.hashes, recipe.export.calibration_images, recipe.seed)
    chosen = {train.names[row]: train.hashes[row] for row in rows}
    held_out = {name: read_split(data, name).hashes for name in ("select", "tune", "test")}
    calibration.refuse_held_out(chosen, held_out)
    covers = {"images": len(rows), "labels": int(train.targets[rows].any(0).sum())}
    text = json.dumps({"covers": covers, "sha256": chosen}, indent=1, ensure_ascii=False)
    (context.out / CALIBRATION).write_text(text + "\n", encoding="utf-8")
    return train.pixels_of(recipe.student.model.image_px, rows)
