"""The int8 graphs of one float graph, and the summary of their accuracy."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.precision.budget import Budget
from export.precision.int8 import FAMILIES
from export.precision.ranges import Ranges
from export.precision.search import PrecisionResult, fit_openvino, fit_qdq, take_qdq
from export.precision.select_evaluator import SelectEvaluator
from pipeline.runner.result import read_json
from pipeline.runner.stage import Context

log = logging.getLogger(__name__)

SUMMARY, CALIBRATION = "precisions.json", "calibration.json"
OPENVINO = "openvino/int8_openvino.xml"


@dataclass(frozen=True)
class Fitting:
    """Inputs of the int8 graphs of one float graph; `ranges` by calibration method."""

    context: Context
    graph: Path
    ranges: Mapping[str, Ranges]
    images: NDArray[np.uint8]
    budget: Budget

    def fit(self, families: Sequence[str], evaluator: SelectEvaluator) -> None:
        """Write models/FAMILY.onnx, openvino/int8_openvino.xml and the summary."""
        results: dict[str, PrecisionResult] = {}
        for done, name in enumerate(families):
            self.context.progress("int8", done, len(families))
            is_openvino = name == "int8_openvino"
            results[name] = self._openvino(results, evaluator) if is_openvino else self._qdq(name, evaluator)
            _log(results[name])
        self.context.progress("int8", len(families), len(families))
        facts = {
            "keep": self.budget.keep,
            "float_map": evaluator.float_map,
            "images": len(evaluator.pixels),
            "calibration": read_json(self.context.out / CALIBRATION)["covers"],
            "precisions": [_to_json(result) for result in results.values()],
        }
        (self.context.out / SUMMARY).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")

    def _qdq(self, family: str, evaluator: SelectEvaluator) -> PrecisionResult:
        out = self.context.out / "models" / f"{family}.onnx"
        return fit_qdq(self.graph, self.ranges, FAMILIES[family], evaluator, self.budget, out, self.context.progress)

    def _openvino(self, results: Mapping[str, PrecisionResult], evaluator: SelectEvaluator) -> PrecisionResult:
        """NNCF's graph, or the Q/DQ graph for x86 if NNCF's is over budget and the other is better."""
        out = self.context.out / OPENVINO
        nncf = fit_openvino(self.graph, self.images, evaluator, self.budget, out)
        if nncf.quality.within_budget:
            return nncf
        graph = self.context.out / "models" / "int8_x86.onnx"
        qdq = results["int8_x86"] if "int8_x86" in results else self._qdq("int8_x86", evaluator)
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
