"""The validation pictures as a whole: what every engine is held to, and what its thresholds come from."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.parity import Parity, differences
from mlkd.data.prepared import Split, read_split
from mlkd.metrics import mean_average_precision, tune_thresholds
from pipeline.recipe import Recipe

BATCH = 32


@dataclass(frozen=True)
class Val:
    """All of val: select, and tune behind it, on which thresholds are tuned; N pictures, L labels."""

    select: Split
    tune: Split
    image_px: int

    @classmethod
    def read(cls, recipe: Recipe, data: Path) -> Val:
        """From the folder of the stage data."""
        return cls(read_split(data, "select"), read_split(data, "tune"), recipe.student.model.image_px)

    @property
    def halves(self) -> tuple[Split, Split]:
        """In the order of all arrays."""
        return self.select, self.tune

    @cached_property
    def targets(self) -> NDArray[np.uint8]:
        """(N, L)"""
        return np.concatenate([half.targets for half in self.halves])

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """(N, L)"""
        parts = [np.ones(half.targets.shape, bool) if half.known is None else half.known for half in self.halves]
        return np.concatenate(parts)

    def scores(self, tagging: Callable[[NDArray[np.uint8]], NDArray[np.float32]]) -> NDArray[np.float32]:
        """(N, L), a batch at a time."""
        pixels = [half.pixels(self.image_px) for half in self.halves]
        return np.concatenate(
            [tagging(np.array(part[at : at + BATCH])) for part in pixels for at in range(0, len(part), BATCH)]
        )

    def thresholds(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """(L,)"""
        return tune_thresholds(scores[len(self.select) :], self.tune.targets, self.tune.known)

    def tune_map(self, scores: NDArray[np.float32]) -> float | None:
        """On tune; None without positives there."""
        found = mean_average_precision(scores[len(self.select) :], self.tune.targets, self.tune.known)
        return None if math.isnan(found) else found

    def parity(
        self,
        reference: NDArray[np.float32],
        scores: NDArray[np.float32],
        thresholds: NDArray[np.float32],
        *,
        seed: int,
    ) -> Parity:
        """What `differences` says of all of val."""
        names, groups = self.select.labels.names, [*self.select.groups, *self.tune.groups]
        known = None if self.known.all() else self.known
        return differences(
            reference, scores, self.targets, thresholds, labels=names, groups=groups, known=known, seed=seed
        )
