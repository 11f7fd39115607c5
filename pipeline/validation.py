"""The validation split as a whole: engines are compared on it, and thresholds are tuned on its half tune."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.backends import score_in_batches
from export.onnx.parity import Parity, differences
from mlkd.core import thresholds
from mlkd.core.metrics import average_precision, mean
from mlkd.data.prepared import Split, read_split
from pipeline.recipe.schema import Recipe

log = logging.getLogger(__name__)

BATCH = 32


@dataclass(frozen=True)
class Val:
    """The halves of val in the order select, tune; thresholds are tuned on tune. N images, L labels."""

    select: Split
    tune: Split
    image_px: int
    aim: thresholds.Thresholds

    @classmethod
    def read(cls, recipe: Recipe, data: Path) -> Val:
        """Read the halves from the folder of the stage data."""
        select, tune = read_split(data, "select"), read_split(data, "tune")
        return cls(select, tune, recipe.student.model.image_px, recipe.export.thresholds)

    @property
    def halves(self) -> tuple[Split, Split]:
        """The halves, in the order of all arrays."""
        return self.select, self.tune

    @cached_property
    def targets(self) -> NDArray[np.uint8]:
        """Targets (N, L)."""
        return np.concatenate([half.targets for half in self.halves])

    @cached_property
    def label_mask(self) -> NDArray[np.bool_]:
        """True (N, L) where a label is known."""
        parts = [
            np.ones(half.targets.shape, bool) if half.label_mask is None else half.label_mask for half in self.halves
        ]
        return np.concatenate(parts)

    def scores(self, tagging: Callable[[NDArray[np.uint8]], NDArray[np.float32]]) -> NDArray[np.float32]:
        """Compute scores (N, L), a batch at a time."""
        parts = [score_in_batches(tagging, half.pixels(self.image_px), BATCH) for half in self.halves]
        return np.concatenate(parts)

    def thresholds(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Tune thresholds (L,) on the half tune."""
        return thresholds.tune(scores[len(self.select) :], self.tune.targets, self.aim, self.tune.label_mask)

    def tuned(self, engine: str, scores: NDArray[np.float32]) -> dict[str, Any]:
        """Return the manifest's facts of an engine from its scores (N, L)."""
        return tuned(engine, self.tune, scores[len(self.select) :], self.aim)

    def parity(
        self, reference: NDArray[np.float32], scores: NDArray[np.float32], thresholds: NDArray[np.float32]
    ) -> Parity:
        """Compare scores with those of a reference on all of val."""
        names, groups = self.select.labels.names, [*self.select.clusters, *self.tune.clusters]
        label_mask = None if self.label_mask.all() else self.label_mask
        return differences(
            reference, scores, self.targets, thresholds, labels=names, groups=groups, label_mask=label_mask
        )


def tuned(engine: str, tune: Split, scores: NDArray[np.float32], aim: thresholds.Thresholds) -> dict[str, Any]:
    """Tune thresholds on scores (N, L) of tune; return them with expected precision and recall and the AP by label.

    Labels that miss the required precision on tune are logged.
    """
    decisions = tune.targets, aim, tune.label_mask
    values = thresholds.tune(scores, *decisions)
    missed = [tune.labels.names[label] for label in thresholds.below_floor(values, scores, *decisions)]
    if missed:
        log.warning(
            "%s: %d of %d labels miss precision %g on tune. Labels with positives get their most precise threshold, "
            "labels without positives the threshold of all labels pooled: %s",
            engine, len(missed), len(tune.labels.names), aim.precision, ", ".join(missed),
        )  # fmt: skip
    precision, recall = thresholds.expected(scores, *decisions, tune.groups)
    ap = average_precision(scores, tune.targets, tune.label_mask)
    return {
        "thresholds": tuple(values.tolist()),
        "expected_precision": tuple(_or_none(value) for value in precision.tolist()),
        "expected_recall": tuple(_or_none(value) for value in recall.tolist()),
        "tune_map": _or_none(mean(ap)),
        "tune_ap": tuple(_or_none(value) for value in ap.tolist()),
    }


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
