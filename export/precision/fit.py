"""Of each family the int8 graph that keeps the most mAP on *select*, with layers in float where that is too little."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.backends import OnnxRuntime, OpenVino
from export.precision.budget import Budget, FloatLayer, Restored, fewest, rank
from export.precision.int8_openvino import METHODS, int8_openvino, int8_openvino_within
from export.precision.qdq import Family, layers, quantise
from export.precision.ranges import Ranges
from mlkd.metrics import mean_average_precision
from mlkd.progress import Progress, silent

BATCH = 32
PART = "/WithoutBiases"  # OpenVINO's name for a convolution that it has parted from its bias
RUNTIME = OnnxRuntime(threads=os.cpu_count() or 1)  # what scores a Q/DQ graph


@dataclass(frozen=True)
class Fitted:
    """What became of one family."""

    precision: str
    calibrator: str  # the best of those tried
    tried: Mapping[str, float]  # mAP on select by calibrator, all layers in int8
    select_map: float
    kept: float  # of the float graph's mAP
    float_layers: tuple[FloatLayer, ...]
    fits: bool


@dataclass(frozen=True)
class Judge:
    """mAP on select, of the float graph and of any other; N pictures, L labels."""

    pixels: NDArray[np.uint8]
    targets: NDArray[np.uint8]
    known: NDArray[np.bool_] | None
    float_map: float

    def map_of(self, backend: OnnxRuntime | OpenVino, graph: Path, rows: Sequence[int] | None = None) -> float:
        """What the graph gives when `backend` runs it, on all pictures or on these."""
        chosen = np.arange(len(self.pixels)) if rows is None else np.asarray(rows)
        with backend.open_graph(graph) as session:
            parts = [session(self.pixels[chosen[at : at + BATCH]]) for at in range(0, len(chosen), BATCH)]
        return self.map_of_scores(np.concatenate(parts), chosen)

    def map_of_scores(self, scores: NDArray[np.float32], rows: Sequence[int] | NDArray[np.intp]) -> float:
        """The same from scores (K, L) of the pictures `rows`."""
        known = None if self.known is None else self.known[rows]
        return mean_average_precision(scores, self.targets[rows], known)

    def fitted(
        self,
        precision: str,
        calibrator: str,
        tried: Mapping[str, float],
        value: float,
        floats: tuple[FloatLayer, ...],
        budget: Budget,
    ) -> Fitted:
        """The verdict on a graph of that mAP; of a float graph without any mAP, it keeps all."""
        kept = value / self.float_map if self.float_map else 1.0
        return Fitted(precision, calibrator, dict(tried), value, kept, floats, kept >= budget.keep)


def fit_qdq(
    graph: Path,
    ranges: Mapping[str, Ranges],
    family: Family,
    judge: Judge,
    budget: Budget,
    out: Path,
    progress: Progress = silent,
) -> Fitted:
    """Write the Q/DQ graph with the best of the `ranges` by name, and as few layers in float as the budget asks for.

    Which layers hurt is found with the best ranges; how many have to be float, with all: fewer layers beat more mAP.
    """
    wanted = budget.keep * judge.float_map
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / "trial.onnx"

        def score(name: str, keep_float: Collection[str] = (), rows: Sequence[int] | None = None) -> float:
            return judge.map_of(RUNTIME, quantise(graph, ranges[name], trial, family, keep_float), rows)

        tried = {name: score(name) for name in ranges}
        best, result = _best(tried), Restored((), max(tried.values()))
        able, part = layers(graph), range(min(budget.pictures, len(judge.pixels)))
        most = int(budget.float_layers * len(able))
        if result.score < wanted and most:
            ranked = rank(able, partial(score, best, rows=part), progress)[:most]
            found = {name: fewest(ranked, partial(score, name), wanted) for name in tried}
            best = max(
                found, key=lambda name: (found[name].score >= wanted, -len(found[name].layers), found[name].score)
            )
            result = found[best]
    quantise(graph, ranges[best], out, family, [entry.layer for entry in result.layers])
    return judge.fitted(family.precision, best, tried, result.score, result.layers, budget)


def fit_openvino(
    graph: Path, qdq: Sequence[Path], images: NDArray[np.uint8], judge: Judge, budget: Budget, out: Path
) -> Fitted:
    """Write OpenVINO's int8 graph: NNCF's by one of its range estimators, or one of the `qdq` graphs if that is better.

    Over budget, NNCF's accuracy control takes over, with as many steps as layers may stay float.
    """
    wanted = budget.keep * judge.float_map
    with tempfile.TemporaryDirectory() as folder:
        made: dict[str, Path] = {}
        for method in METHODS:
            made[method] = int8_openvino(graph, images, Path(folder) / f"{method}.xml", method)
        made |= {file.name: OpenVino().compile(file, Path(folder)) for file in qdq}
        tried = {name: judge.map_of(OpenVino(), file) for name, file in made.items()}
        best = _best(tried)
        if tried[best] >= wanted:
            _copy(made[best], out)
            return judge.fitted("int8_openvino", best, tried, tried[best], (), budget)
    return _fit_with_nncf(graph, images, judge, budget, out, tried)


def _fit_with_nncf(
    graph: Path, images: NDArray[np.uint8], judge: Judge, budget: Budget, out: Path, tried: Mapping[str, float]
) -> Fitted:
    method = max(METHODS, key=lambda name: tried[name])
    most = max(1, int(budget.float_layers * len(layers(graph))))
    names = int8_openvino_within(
        graph,
        images,
        out,
        method,
        judge.pixels,
        judge.map_of_scores,
        keep=budget.keep,
        most=most,
        part=budget.pictures,
    )
    value = judge.map_of(OpenVino(), out)

    def without(name: str) -> float:
        kept = [other for other in names if other != name]
        with tempfile.TemporaryDirectory() as folder:
            trial = int8_openvino(graph, images, Path(folder) / "trial.xml", method, kept)
            return judge.map_of(OpenVino(), trial)

    floats = sorted(
        (FloatLayer(name.removesuffix(PART), value - without(name)) for name in names), key=lambda entry: -entry.gain
    )
    return judge.fitted("int8_openvino", method, tried, value, tuple(floats), budget)


def _best(tried: Mapping[str, float]) -> str:
    return max(tried, key=lambda name: tried[name])  # of equal ones the first


def _copy(engine: Path, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    for source, target in zip(OpenVino().files(engine), OpenVino().files(out), strict=True):
        shutil.copyfile(source, target)
