"""The int8 graphs of one float graph, each judged, and the summary of what became of them."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.precision import int8, int8_x86
from export.precision.budget import Budget
from export.precision.ranges import Ranges
from export.precision.search import Fitted, fit_openvino, fit_qdq, take_qdq
from export.precision.select_evaluator import Judge
from pipeline.runner.result import read_json
from pipeline.runner.stage import Context

log = logging.getLogger(__name__)

SUMMARY, CALIBRATION = "precisions.json", "calibration.json"
FAMILIES = {"int8": int8.FAMILY, "int8_x86": int8_x86.FAMILY}
OPENVINO = "openvino/int8_openvino.xml"


@dataclass(frozen=True)
class Fitting:
    """What making int8 graphs of one float graph needs; `ranges` by calibration method."""

    context: Context
    graph: Path
    ranges: Mapping[str, Ranges]
    images: NDArray[np.uint8]
    budget: Budget

    def fit(self, families: Sequence[str], judge: Judge) -> None:
        """Write models/FAMILY.onnx and openvino/int8_openvino.xml, and what became of them."""
        found: dict[str, Fitted] = {}
        for done, name in enumerate(families):
            self.context.progress("int8", done, len(families))
            found[name] = self._openvino(found, judge) if name == "int8_openvino" else self._qdq(name, judge)
            _tell(found[name])
        self.context.progress("int8", len(families), len(families))
        facts = {
            "keep": self.budget.keep,
            "float_map": judge.float_map,
            "images": len(judge.pixels),
            "calibration": read_json(self.context.out / CALIBRATION)["covers"],
            "precisions": [asdict(entry) | {"verdict": entry.verdict} for entry in found.values()],
        }
        (self.context.out / SUMMARY).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")

    def _qdq(self, family: str, judge: Judge) -> Fitted:
        out = self.context.out / "models" / f"{family}.onnx"
        return fit_qdq(self.graph, self.ranges, FAMILIES[family], judge, self.budget, out, self.context.progress)

    def _openvino(self, found: Mapping[str, Fitted], judge: Judge) -> Fitted:
        """NNCF's graph, or the Q/DQ graph for x86 where that keeps more than one over budget."""
        out = self.context.out / OPENVINO
        nncf = fit_openvino(self.graph, self.images, judge, self.budget, out)
        if nncf.quality.fits:
            return nncf
        graph = self.context.out / "models" / "int8_x86.onnx"
        qdq = found["int8_x86"] if "int8_x86" in found else self._qdq("int8_x86", judge)
        taken = take_qdq(nncf, qdq, graph, out)
        if taken is nncf and "int8_x86" not in found:
            graph.unlink()
        return taken


def _tell(fitted: Fitted) -> None:
    floats = f", {len(fitted.float_layers)} layers in float" if fitted.float_layers else ""
    quality = fitted.quality
    log.info(
        "%s: keeps %.2f %% of the float mAP (%s%s; 95 %%: %+.2f to %+.2f points; %.2f %% by score drift): %s",
        fitted.precision,
        100 * fitted.kept,
        fitted.calibrator,
        floats,
        100 * quality.low,
        100 * quality.high,
        100 * quality.drift_kept,
        fitted.verdict,
    )
