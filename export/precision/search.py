"""Of each family the int8 graph nearest to the float one, with as few layers in float as its budget asks for.

More mAP on *select* than the float graph has is luck: clipping activations can win half a point there, and lose one on
images of things that nobody has seen.  Score drift is a mean over all decisions, and tells.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.backends import OpenVino
from export.precision.budget import Budget, FloatLayer, Quality, Restored, fewest, rank
from export.precision.int8_openvino import METHODS, int8_openvino
from export.precision.qdq import Family, layers, quantise, taken_along
from export.precision.ranges import Ranges
from export.precision.select_evaluator import Judge, score
from mlkd.core.progress import Progress, silent


@dataclass(frozen=True)
class Fitted:
    """What became of one family."""

    precision: str
    calibrator: str  # the one that was taken of those tried
    tried: Mapping[str, float]  # mAP on select by calibrator, all layers in int8
    moved: Mapping[str, float]  # score drift, likewise
    kept: float  # of the float graph's mAP
    quality: Quality
    float_layers: tuple[FloatLayer, ...] = ()

    @property
    def verdict(self) -> str:
        """What the gate says, and from what."""
        if self.quality.decided:
            return "within the budget" if self.quality.fits else "over the budget"
        drift = "small enough" if self.quality.fits else "over the budget"
        return f"too few images to decide by mAP; score drift is {drift}"


def fit_qdq(
    graph: Path,
    ranges: Mapping[str, Ranges],
    family: Family,
    judge: Judge,
    budget: Budget,
    out: Path,
    progress: Progress = silent,
) -> Fitted:
    """Write the Q/DQ graph with the nearest of the `ranges` by name, and as few layers in float as the budget asks for.

    Which layers hurt is found on some images by score drift, how many have to be float on all.
    """
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / "trial.onnx"

        def scores(name: str, keep_float: Collection[str] = ()) -> NDArray[np.float32]:
            return score(quantise(graph, ranges[name], trial, family, keep_float), judge.pixels)

        found = {name: scores(name) for name in ranges}
        best = _nearest(judge, found)

        def measure(keep_float: Collection[str]) -> Quality:
            return judge.quality(scores(best, keep_float), budget.keep)

        def drifts(keep_float: Collection[str]) -> NDArray[np.floating]:
            return judge.drifts(quantise(graph, ranges[best], trial, family, keep_float), budget.images)

        result = Restored((), judge.quality(found[best], budget.keep))
        able = layers(graph)
        most = int(budget.float_layers * len(able))
        if not result.quality.fits and most:
            result = fewest(rank(able, drifts, progress)[:most], measure)
    quantise(graph, ranges[best], out, family, [entry.layer for entry in result.layers])
    floats = (*result.layers, *(FloatLayer(name, None) for name in taken_along(graph, family, result.layers)))
    return _fitted(family.precision, best, judge, found, result.quality, floats)


def fit_openvino(graph: Path, images: NDArray[np.uint8], judge: Judge, budget: Budget, out: Path) -> Fitted:
    """Write OpenVINO's int8 graph: NNCF's by that of its range estimators which comes nearest."""
    with tempfile.TemporaryDirectory() as folder:
        made: dict[str, Path] = {}
        for method in METHODS:
            made[method] = int8_openvino(graph, images, Path(folder) / f"{method}.xml", method)
        found = {method: score(file, judge.pixels) for method, file in made.items()}
        best = _nearest(judge, found)
        out.parent.mkdir(parents=True, exist_ok=True)
        for source, target in zip(OpenVino().files(made[best]), OpenVino().files(out), strict=True):
            shutil.copyfile(source, target)
    return _fitted("int8_openvino", best, judge, found, judge.quality(found[best], budget.keep))


def take_qdq(nncf: Fitted, qdq: Fitted, graph: Path, out: Path) -> Fitted:
    """Let OpenVINO have the Q/DQ `graph` where NNCF's is over budget and `qdq` keeps more.

    In exact arithmetic a graph gives in OpenVINO what it gives in ONNX Runtime.
    """
    if nncf.quality.fits or _worth(qdq.quality) <= _worth(nncf.quality):
        return nncf
    made = OpenVino().compile(graph, out.parent)
    for source, target in zip(OpenVino().files(made), OpenVino().files(out), strict=True):
        source.replace(target)
    tried, moved = ({**getattr(qdq, name), **getattr(nncf, name)} for name in ("tried", "moved"))
    calibrator = f"{qdq.calibrator} in Q/DQ"
    tried |= {calibrator: qdq.tried[qdq.calibrator]}
    moved |= {calibrator: qdq.moved[qdq.calibrator]}
    return dataclasses.replace(qdq, precision=nncf.precision, calibrator=calibrator, tried=tried, moved=moved)


def _worth(quality: Quality) -> tuple[bool, float]:
    return quality.fits, -quality.drift


def _nearest(judge: Judge, found: Mapping[str, NDArray[np.float32]]) -> str:
    return min(found, key=lambda name: judge.drift(found[name]))


def _fitted(
    precision: str,
    best: str,
    judge: Judge,
    found: Mapping[str, NDArray[np.float32]],
    quality: Quality,
    floats: tuple[FloatLayer, ...] = (),
) -> Fitted:
    """Of a float graph without any mAP, a graph keeps all."""
    return Fitted(
        precision=precision,
        calibrator=best,
        tried={name: judge.map_of(scores) for name, scores in found.items()},
        moved={name: judge.drift(scores) for name, scores in found.items()},
        kept=quality.select_map / judge.float_map if judge.float_map else 1.0,
        quality=quality,
        float_layers=floats,
    )
