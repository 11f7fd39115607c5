"""Of each family the int8 graph nearest to the float one of those within the budget, as few layers in float as need be.

More mAP on *select* than the float graph has is luck: clipping activations can win half a point there, and lose one on
pictures of things that nobody has seen.  How far scores move is a mean over all decisions, and tells.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from export.backends import OnnxRuntime, OpenVino
from export.precision.budget import Budget, FloatLayer, Restored, fewest, rank
from export.precision.int8_openvino import METHODS, int8_openvino, int8_openvino_within
from export.precision.qdq import Family, layers, quantise, taken_along
from export.precision.ranges import Ranges
from mlkd.metrics import mean_average_precision
from mlkd.progress import Progress, silent

BATCH = 32
PART = "/WithoutBiases"  # OpenVINO's name for a convolution that it has parted from its bias
RUNTIME = OnnxRuntime(threads=len(os.sched_getaffinity(0)))  # what scores a graph in ONNX


class Tried(NamedTuple):
    """A graph with all layers in int8: mAP on select, and how far its scores are from the float graph's, on average."""

    select_map: float
    moved: float | None  # None where the float graph's scores are not the aim


@dataclass(frozen=True)
class Fitted:
    """What became of one family."""

    precision: str
    calibrator: str  # the one that was taken of those tried
    tried: Mapping[str, float]  # mAP on select by calibrator, all layers in int8
    moved: Mapping[str, float]  # mean difference from the float graph's scores, likewise
    select_map: float
    kept: float  # of the float graph's mAP
    float_layers: tuple[FloatLayer, ...]
    fits: bool


@dataclass(frozen=True)
class Judge:
    """mAP on select, of the float graph and of any other; N pictures, L labels.

    `float_scores` (N, L) are to be come near to; None for graphs that were trained with rounding.
    """

    pixels: NDArray[np.uint8]
    targets: NDArray[np.uint8]
    known: NDArray[np.bool_] | None
    float_map: float
    float_scores: NDArray[np.float32] | None = None

    def measure(self, backend: OnnxRuntime | OpenVino, graph: Path) -> Tried:
        """What the graph gives on all pictures when `backend` runs it."""
        rows = np.arange(len(self.pixels))
        scores = self.scores_of(backend, graph, rows)
        moved = None if self.float_scores is None else float(np.abs(scores - self.float_scores).mean())
        return Tried(self.map_of_scores(scores, rows), moved)

    def map_of(
        self, backend: OnnxRuntime | OpenVino, graph: Path, rows: Sequence[int] | NDArray[np.intp] | None = None
    ) -> float:
        """mAP of the graph when `backend` runs it, on all pictures or on these."""
        chosen = np.arange(len(self.pixels)) if rows is None else np.asarray(rows)
        return self.map_of_scores(self.scores_of(backend, graph, chosen), chosen)

    def scores_of(self, backend: OnnxRuntime | OpenVino, graph: Path, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """(K, L) of the pictures `rows`."""
        with backend.open_graph(graph) as session:
            parts = [session(self.pixels[rows[at : at + BATCH]]) for at in range(0, len(rows), BATCH)]
        return np.concatenate(parts)

    def map_of_scores(self, scores: NDArray[np.float32], rows: Sequence[int] | NDArray[np.intp]) -> float:
        """The same from scores (K, L) of the pictures `rows`; 0 where none of them has a label."""
        known = None if self.known is None else self.known[rows]
        return float(np.nan_to_num(mean_average_precision(scores, self.targets[rows], known)))

    def by_picture(self, scores: NDArray[np.float32], rows: Sequence[int]) -> list[float]:
        """Mean log-likelihood of each picture's known decisions: mAP has no value of a single picture."""
        known = np.ones(scores.shape, bool) if self.known is None else self.known[rows]
        right = np.log(np.clip(np.where(self.targets[rows] > 0, scores, 1 - scores), 1e-6, 1))
        means: list[float] = ((right * known).sum(1) / np.maximum(known.sum(1), 1)).tolist()
        return means

    def validate(self, scores: NDArray[np.float32], rows: Sequence[int]) -> tuple[float, list[float]]:
        """mAP of those pictures, and a number for each of them that falls as it gets worse."""
        return self.map_of_scores(scores, rows), self.by_picture(scores, rows)

    def part(self, count: int) -> NDArray[np.intp]:
        """At most `count` pictures with a label, evenly over all: pictures may be in the order of their labels."""
        labelled = self.targets.astype(bool) & (True if self.known is None else self.known)
        rows = np.flatnonzero(labelled.any(1))
        return rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(np.intp))]

    def fitted(
        self,
        precision: str,
        calibrator: str,
        tried: Mapping[str, Tried],
        value: float,
        floats: tuple[FloatLayer, ...],
        budget: Budget,
    ) -> Fitted:
        """The verdict on a graph of that mAP; of a float graph without any mAP, it keeps all."""
        kept = value / self.float_map if self.float_map else 1.0
        maps = {name: one.select_map for name, one in tried.items()}
        moved = {name: one.moved for name, one in tried.items() if one.moved is not None}
        return Fitted(precision, calibrator, maps, moved, value, kept, floats, kept >= budget.keep)


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

        def score(name: str, keep_float: Collection[str] = (), rows: NDArray[np.intp] | None = None) -> float:
            return judge.map_of(RUNTIME, quantise(graph, ranges[name], trial, family, keep_float), rows)

        tried = {name: judge.measure(RUNTIME, quantise(graph, ranges[name], trial, family)) for name in ranges}
        best = _best(tried, wanted)
        result = Restored((), tried[best].select_map)
        able = layers(graph)
        most = int(budget.float_layers * len(able))
        if result.score < wanted and most:
            ranked = rank(able, partial(score, best, rows=judge.part(budget.pictures)), progress)[:most]
            found = {name: fewest(ranked, partial(score, name), wanted) for name in tried}
            back = max(found, key=lambda name: _worth(found[name], tried[name], wanted))
            if found[back].score > result.score:
                best, result = back, found[back]
    quantise(graph, ranges[best], out, family, [entry.layer for entry in result.layers])
    floats = (*result.layers, *(FloatLayer(name, None) for name in taken_along(graph, family, result.layers)))
    return judge.fitted(family.precision, best, tried, result.score, floats, budget)


def fit_openvino(
    graph: Path, qdq: Sequence[Path], images: NDArray[np.uint8], judge: Judge, budget: Budget, out: Path
) -> Fitted:
    """Write OpenVINO's int8 graph: NNCF's by one of its range estimators, or one of the `qdq` graphs if that is nearer.

    Over budget, NNCF's accuracy control takes over, with as many steps as layers may stay float.
    """
    with tempfile.TemporaryDirectory() as folder:
        made: dict[str, Path] = {}
        for method in METHODS:
            made[method] = int8_openvino(graph, images, Path(folder) / f"{method}.xml", method)
        made |= {file.name: OpenVino().compile(file, Path(folder)) for file in qdq}
        tried = {name: judge.measure(OpenVino(), file) for name, file in made.items()}
        best = _best(tried, budget.keep * judge.float_map)
        whole = judge.fitted("int8_openvino", best, tried, tried[best].select_map, (), budget)
        most = int(budget.float_layers * len(layers(graph)))
        if not whole.fits and most:
            restored = _fit_with_nncf(graph, images, judge, budget, out, tried, most)
            if restored.select_map > whole.select_map:
                return restored
        _copy(made[best], out)
        return whole


def _fit_with_nncf(
    graph: Path,
    images: NDArray[np.uint8],
    judge: Judge,
    budget: Budget,
    out: Path,
    tried: Mapping[str, Tried],
    most: int,
) -> Fitted:
    method = max(METHODS, key=lambda name: tried[name].select_map)
    quantise_within = partial(int8_openvino_within, keep=budget.keep, most=most, part=budget.pictures)
    apart = get_context("spawn")  # after NNCF's accuracy control (3.4) a later fork of its process crashes
    with ProcessPoolExecutor(1, apart) as process:
        names = process.submit(quantise_within, graph, images, out, method, judge.pixels, judge.validate).result()
    rows = judge.part(budget.pictures)

    def score(keep_float: Collection[str]) -> float:
        with tempfile.TemporaryDirectory() as folder:
            trial = int8_openvino(graph, images, Path(folder) / "trial.xml", method, keep_float)
            return judge.map_of(OpenVino(), trial, rows)

    floats = [FloatLayer(entry.layer.removesuffix(PART), entry.gain) for entry in rank(names, score)]
    return judge.fitted("int8_openvino", method, tried, judge.map_of(OpenVino(), out), tuple(floats), budget)


def _worth(one: Restored, whole: Tried, wanted: float) -> tuple[bool, int, float, float]:
    """Within the budget before over it; within, fewer layers in float and then ranges that move scores less."""
    if one.score < wanted:
        return False, 0, 0.0, one.score
    return True, -len(one.layers), -(whole.moved or 0.0), one.score


def _best(tried: Mapping[str, Tried], wanted: float) -> str:
    """Of those within the budget the nearest to the float graph, else the one with the most mAP."""
    near = {name: one.moved for name, one in tried.items() if one.moved is not None and one.select_map >= wanted}
    return min(near, key=lambda name: near[name]) if near else max(tried, key=lambda name: tried[name].select_map)


def _copy(engine: Path, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    for source, target in zip(OpenVino().files(engine), OpenVino().files(out), strict=True):
        shutil.copyfile(source, target)
