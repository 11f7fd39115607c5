"""Evaluates int8 graphs on *select*: mAP with its interval, and score drift, which needs no labels.

Both are computed in exact arithmetic, because kernels of a processor without VNNI saturate.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.backends import OnnxRuntime, OpenVino, on_all_cores, score_in_batches
from export.precision.budget import Quality
from mlkd.core.groups import Groups
from mlkd.core.intervals import difference_interval
from mlkd.core.metrics import mean_average_precision

BATCH = 32
# Score drift is over budget if its expected loss of mAP is this many times the budget.  The expectation assumes that
# float scores are true probabilities, which overestimates: it was 1.0 to 3.1 % where 1,002 scenes showed no loss.
DRIFT_LIMIT = 5.0


@dataclass(frozen=True)
class SelectEvaluator:
    """The images of *select*, and the float graph's scores of them."""

    pixels: NDArray[np.uint8]  # (N, H, W, 3)
    targets: NDArray[np.uint8]  # (N, L)
    groups: Groups  # (N,)
    float_scores: NDArray[np.float32]  # (N, L)
    label_mask: NDArray[np.bool_] | None = None

    @cached_property
    def float_map(self) -> float:
        """mAP of the float graph; 0 where no image has a label."""
        return self.map_of(self.float_scores)

    @cached_property
    def _float_expected(self) -> float:
        return expected_map(self.float_scores, self.float_scores)

    def quality(self, scores: NDArray[np.float32], min_map_ratio: float) -> Quality:
        """Compare a graph's scores (N, L) with the float graph's, and decide whether they keep this ratio of its mAP.

        If the interval of the difference of mAP is on both sides of the budget, score drift decides.
        """
        change = difference_interval(scores, self.float_scores, self.targets, self.groups, label_mask=self.label_mask)
        low, high = (0.0, 0.0) if np.isnan(change.low) else (change.low, change.high)
        allowed = (min_map_ratio - 1) * self.float_map
        is_significant = bool(low >= allowed or high < allowed)
        expected_ratio = expected_map(scores, self.float_scores) / self._float_expected
        small_drift = 1 - expected_ratio <= DRIFT_LIMIT * (1 - min_map_ratio)
        return Quality(
            select_map=self.map_of(scores),
            low=low,
            high=high,
            mean_score_drift=self.mean_score_drift(scores),
            expected_map_ratio=expected_ratio,
            is_significant=is_significant,
            within_budget=bool(low >= allowed) if is_significant else small_drift,
        )

    def mean_score_drift(self, scores: NDArray[np.float32]) -> float:
        """Mean absolute difference of a graph's scores (N, L) from the float graph's."""
        return float(np.abs(scores - self.float_scores).mean())

    def drift_by_image(self, graph: Path, count: int) -> NDArray[np.floating]:
        """Mean score drift of each of at most `count` images, evenly spaced in *select*, which may be sorted."""
        rows = np.unique(np.linspace(0, len(self.targets) - 1, min(count, len(self.targets))).round().astype(np.intp))
        drifts: NDArray[np.floating] = np.abs(score(graph, self.pixels[rows]) - self.float_scores[rows]).mean(1)
        return drifts

    def map_of(self, scores: NDArray[np.float32]) -> float:
        """mAP of scores (N, L); 0 where no image has a label."""
        return float(np.nan_to_num(mean_average_precision(scores, self.targets, self.label_mask)))


def score(graph: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Scores (N, L) of a graph in exact arithmetic, independent of this CPU's int8 kernels."""
    backend = OpenVino() if graph.suffix == ".xml" else OnnxRuntime()
    with on_all_cores(backend).open_exact(graph) as session:
        return score_in_batches(session, pixels, BATCH)


def expected_map(scores: NDArray[np.float32], probabilities: NDArray[np.float32]) -> float:
    """Expected mAP of scores (N, L) if each image has each label with the given probability (N, L).

    With the float graph's scores as probabilities no labels are needed.  To first order in 1 / N: a positive at rank r
    has a precision of (1 + sum of the probabilities above it) / r.
    """
    order = np.argsort(-scores, axis=0, kind="stable")
    ranked = np.take_along_axis(probabilities.astype(np.float64), order, axis=0)
    above = np.cumsum(ranked, axis=0) - ranked
    precision = (1 + above) / np.arange(1, len(scores) + 1)[:, None]
    return float(((ranked * precision).sum(0) / np.maximum(ranked.sum(0), np.finfo(np.float64).tiny)).mean())
