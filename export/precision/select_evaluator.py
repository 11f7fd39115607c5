"""What an int8 graph keeps: mAP on labelled images with its interval, and how far scores drift, which needs no labels.

Both in exact arithmetic: what a processor without VNNI makes of a graph says nothing of the graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.backends import OnnxRuntime, OpenVino, host
from export.precision.budget import Quality
from mlkd.core.groups import Groups
from mlkd.core.intervals import difference_interval
from mlkd.core.metrics import mean_average_precision

BATCH = 32
# Times the budget that score drift may let expect before it counts as over.  The expectation is that of a float model
# whose scores are true probabilities; others lose less: 1.0 to 3.1 % were expected where 1,002 scenes showed no loss.
DRIFT_LIMIT = 5.0


@dataclass(frozen=True)
class Judge:
    """Images of select (N) and the float graph's scores of them, (N, L)."""

    pixels: NDArray[np.uint8]  # (N, H, W, 3)
    targets: NDArray[np.uint8]  # (N, L)
    groups: Groups  # (N,)
    float_scores: NDArray[np.float32]
    label_mask: NDArray[np.bool_] | None = None

    @cached_property
    def float_map(self) -> float:
        """The mAP that has to be kept; 0 where no image has a label."""
        return self.map_of(self.float_scores)

    @cached_property
    def _float_expected(self) -> float:
        return expected_map(self.float_scores, self.float_scores)

    def quality(self, scores: NDArray[np.float32], keep: float) -> Quality:
        """What a graph with these scores (N, L) keeps, and whether that is the share `keep` of the mAP.

        Where the interval of the difference of mAP cannot decide, only score drift far over the budget makes it unfit.
        """
        change = difference_interval(scores, self.float_scores, self.targets, self.groups, label_mask=self.label_mask)
        low, high = (0.0, 0.0) if np.isnan(change.low) else (change.low, change.high)
        allowed = (keep - 1) * self.float_map
        decided = bool(low >= allowed or high < allowed)
        drift_kept = expected_map(scores, self.float_scores) / self._float_expected
        return Quality(
            select_map=self.map_of(scores),
            low=low,
            high=high,
            drift=self.drift(scores),
            drift_kept=drift_kept,
            decided=decided,
            fits=bool(low >= allowed) if decided else 1 - drift_kept <= DRIFT_LIMIT * (1 - keep),
        )

    def drift(self, scores: NDArray[np.float32]) -> float:
        """Mean difference of a graph's scores (N, L) from the float graph's."""
        return float(np.abs(scores - self.float_scores).mean())

    def drifts(self, graph: Path, count: int) -> NDArray[np.floating]:
        """The same of each of at most `count` images, evenly over select: images may be in the order of their labels.

        In exact arithmetic.
        """
        rows = np.unique(np.linspace(0, len(self.targets) - 1, min(count, len(self.targets))).round().astype(np.intp))
        drifts: NDArray[np.floating] = np.abs(score(graph, self.pixels[rows]) - self.float_scores[rows]).mean(1)
        return drifts

    def map_of(self, scores: NDArray[np.float32]) -> float:
        """mAP of select; 0 where no image has a label."""
        return float(np.nan_to_num(mean_average_precision(scores, self.targets, self.label_mask)))


def score(graph: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, L) in exact arithmetic, whatever this CPU's int8 kernels compute."""
    threads = host.usable_cores()
    backend = OpenVino(threads=threads) if graph.suffix == ".xml" else OnnxRuntime(threads=threads)
    with backend.open_exact(graph) as session:
        return np.concatenate([session(pixels[at : at + BATCH]) for at in range(0, len(pixels), BATCH)])


def expected_map(scores: NDArray[np.float32], probabilities: NDArray[np.float32]) -> float:
    """mAP of `scores` (N, L) to be expected if each image has each label with these probabilities (N, L).

    With the float graph's scores for probabilities no labels are needed.  To first order in 1 / N: a positive at rank r
    has a precision of (1 + sum of the probabilities above it) / r.
    """
    order = np.argsort(-scores, axis=0, kind="stable")
    ranked = np.take_along_axis(probabilities.astype(np.float64), order, axis=0)
    above = np.cumsum(ranked, axis=0) - ranked
    precision = (1 + above) / np.arange(1, len(scores) + 1)[:, None]
    return float(((ranked * precision).sum(0) / np.maximum(ranked.sum(0), np.finfo(np.float64).tiny)).mean())
