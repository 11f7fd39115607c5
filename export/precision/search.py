"""Selects, per runtime family, the int8 graph closest to float32 that meets the budget with the fewest float layers.

Calibrators are tried in the order in which they are usually closest, until one meets the budget with all layers in
int8 and a small expected loss; if none does, the closest is used.  Closeness is the mean score drift over all
decisions.  mAP on *select* above that of the float graph is chance: clipped activations can gain half a point there,
and lose one on images of unseen things.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from export.backends import OpenVino
from export.precision.budget import Budget, FloatFallback, FloatLayer, Quality, fewest, rank
from export.precision.int8_openvino import METHODS, Method, int8_openvino
from export.precision.qdq import Family, forced_to_float, layers, quantize
from export.precision.ranges import Ranges
from export.precision.select_evaluator import SelectEvaluator, score
from mlkd.core.progress import Progress, silent

Name = TypeVar("Name", bound=str)
SMALL_LOSS = 2  # expected loss, as a multiple of what the budget allows; scores out of calibration raise it


@dataclass(frozen=True)
class CalibrationResult:
    """Accuracy on *select* with the ranges of one calibrator and all layers in int8."""

    select_map: float
    mean_score_drift: float


@dataclass(frozen=True)
class PrecisionResult:
    """The int8 graph of one family."""

    precision: str
    calibrator: str  # the selected one
    calibrations: Mapping[str, CalibrationResult]  # by calibrator
    map_ratio: float  # to the float graph's mAP; 1 if that is 0
    quality: Quality
    float_layers: tuple[FloatLayer, ...] = ()

    @property
    def verdict(self) -> str:
        """Whether the graph meets the budget, and by which measure."""
        within = self.quality.within_budget
        if self.quality.is_significant:
            return "within the budget" if within else "over the budget"
        drift = "small enough" if within else "over the budget"
        return f"too few images to decide by mAP; score drift is {drift}"


def fit_qdq(
    graph: Path,
    ranges: Mapping[str, Callable[[], Ranges]],
    family: Family,
    evaluator: SelectEvaluator,
    budget: Budget,
    out: Path,
    progress: Progress = silent,
) -> PrecisionResult:
    """Write the Q/DQ graph with the fewest layers in float that meets the budget, with the `ranges` of one calibrator.

    Layers are ranked by score drift on some images; their number is decided on all images.
    """
    with tempfile.TemporaryDirectory() as folder:
        candidate = Path(folder) / "candidate.onnx"

        def scores(calibrator: str, keep_float: Collection[str] = ()) -> NDArray[np.float32]:
            return score(quantize(graph, ranges[calibrator](), candidate, family, keep_float), evaluator.pixels)

        all_int8, best = _until_one_fits(tuple(ranges), scores, evaluator, budget)

        def measure(keep_float: Collection[str]) -> Quality:
            return evaluator.quality(scores(best, keep_float), budget.keep)

        def drifts(keep_float: Collection[str]) -> NDArray[np.floating]:
            quantized = quantize(graph, ranges[best](), candidate, family, keep_float)
            return evaluator.drift_by_image(quantized, budget.images)

        fallback = FloatFallback((), evaluator.quality(all_int8[best], budget.keep))
        names = layers(graph)
        most = int(budget.float_layers * len(names))
        if not fallback.quality.within_budget and most:
            fallback = fewest(rank(names, drifts, progress)[:most], measure)
    quantize(graph, ranges[best](), out, family, [entry.layer for entry in fallback.layers])
    forced = (FloatLayer(name, None) for name in forced_to_float(graph, family, fallback.layers))
    return _result(family.precision, best, evaluator, all_int8, fallback.quality, (*fallback.layers, *forced))


def fit_openvino(
    graph: Path, images: NDArray[np.uint8], evaluator: SelectEvaluator, budget: Budget, out: Path
) -> PrecisionResult:
    """Write NNCF's int8 graph for OpenVINO, with the first of its range estimators that meets the budget."""
    with tempfile.TemporaryDirectory() as folder:

        def score_of(method: Method) -> NDArray[np.float32]:
            file = int8_openvino(graph, images, Path(folder) / f"{method}.xml", method)
            return score(file, evaluator.pixels)

        by_method, best = _until_one_fits(METHODS, score_of, evaluator, budget)
        scores = {str(method): values for method, values in by_method.items()}
        out.parent.mkdir(parents=True, exist_ok=True)
        chosen = Path(folder) / f"{best}.xml"
        for source, target in zip(OpenVino().files(chosen), OpenVino().files(out), strict=True):
            shutil.copyfile(source, target)
    return _result("int8_openvino", best, evaluator, scores, evaluator.quality(scores[best], budget.keep))


def take_qdq(nncf: PrecisionResult, qdq: PrecisionResult, graph: Path, out: Path) -> PrecisionResult:
    """Replace NNCF's graph at `out` by the Q/DQ `graph` if NNCF's is over budget and the Q/DQ graph is better.

    In exact arithmetic OpenVINO gives the same scores for a graph as ONNX Runtime.
    """
    if nncf.quality.within_budget or _rank_of(qdq.quality) <= _rank_of(nncf.quality):
        return nncf
    engine = OpenVino().compile(graph, out.parent)
    for source, target in zip(OpenVino().files(engine), OpenVino().files(out), strict=True):
        source.replace(target)
    calibrator = f"{qdq.calibrator} in Q/DQ"
    calibrations = {**qdq.calibrations, **nncf.calibrations, calibrator: qdq.calibrations[qdq.calibrator]}
    return dataclasses.replace(qdq, precision=nncf.precision, calibrator=calibrator, calibrations=calibrations)


def _rank_of(quality: Quality) -> tuple[bool, float]:
    return quality.within_budget, -quality.mean_score_drift


def _until_one_fits(
    names: Sequence[Name], score_of: Callable[[Name], NDArray[np.float32]], evaluator: SelectEvaluator, budget: Budget
) -> tuple[dict[Name, NDArray[np.float32]], Name]:
    """The scores by calibrator up to the first that meets the budget, and that one; else all, and the closest."""
    scores: dict[Name, NDArray[np.float32]] = {}
    for name in names:
        scores[name] = score_of(name)
        quality = evaluator.quality(scores[name], budget.keep)
        if quality.within_budget and 1 - quality.expected_map_ratio <= SMALL_LOSS * (1 - budget.keep):
            return scores, name
    return scores, min(scores, key=lambda name: evaluator.mean_score_drift(scores[name]))


def _result(
    precision: str,
    calibrator: str,
    evaluator: SelectEvaluator,
    scores: Mapping[str, NDArray[np.float32]],
    quality: Quality,
    float_layers: tuple[FloatLayer, ...] = (),
) -> PrecisionResult:
    return PrecisionResult(
        precision=precision,
        calibrator=calibrator,
        calibrations={
            name: CalibrationResult(evaluator.map_of(values), evaluator.mean_score_drift(values))
            for name, values in scores.items()
        },
        map_ratio=quality.select_map / evaluator.float_map if evaluator.float_map else 1.0,
        quality=quality,
        float_layers=float_layers,
    )
