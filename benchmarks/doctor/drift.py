"""How far an int8 engine's scores on this processor are from those of exact arithmetic, and what that costs in mAP."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.doctor.diagnosis import Built
from export.backends import OnnxRuntime, OpenVino, score_in_batches, stamp
from export.backends.saturation_probe import kernels_saturate
from export.tagger.limits import LIMITS, largest_difference, mean_difference
from export.tagger.saturation_diagnosis import describe
from mlkd.core.metrics import mean_average_precision

BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Differences of scores 0..1; mAP as fractions, None where no labels are known."""

    images: int
    largest: float
    mean: float
    saturates: bool
    instruction_set: str
    kernels_map: float | None = None
    exact_map: float | None = None

    def __str__(self) -> str:
        """One line for people."""
        text = describe(self.largest, self.mean, blamed=self.saturates)
        if self.kernels_map is not None and self.exact_map is not None:
            text += f", mAP {100 * self.kernels_map:.2f} instead of {100 * self.exact_map:.2f} on select"
        return f"{text} ({self.images} images, {self.instruction_set})"


def compare(
    exact: NDArray[np.float32],
    found: NDArray[np.float32],
    targets: NDArray[np.uint8] | None = None,
    label_mask: NDArray[np.bool_] | None = None,
) -> Drift:
    """Scores (N, L) that this processor's int8 kernels gave beside those of exact arithmetic."""
    largest = largest_difference(exact, found)
    assert largest is not None, f"{exact.shape}, {found.shape}"
    maps = [
        None if targets is None else mean_average_precision(scores, targets, label_mask) for scores in (found, exact)
    ]
    return Drift(
        images=len(exact),
        largest=largest,
        mean=mean_difference(exact, found),
        saturates=not LIMITS["int8"].allows(exact, found) and kernels_saturate(),
        instruction_set=stamp.instruction_set(),
        kernels_map=maps[0],
        exact_map=maps[1],
    )


def measure_drift(
    engine: Built,
    images: NDArray[np.uint8],
    targets: NDArray[np.uint8] | None = None,
    label_mask: NDArray[np.bool_] | None = None,
) -> Drift:
    """Score `images` (N, H, W, 3) with the engine's int8 kernels and in exact arithmetic, both on this processor."""
    assert isinstance(engine.backend, OnnxRuntime | OpenVino), engine.backend.kind
    with engine.backend.open(engine.file) as kernels:
        found = score_in_batches(kernels, images, BATCH)
    with engine.backend.open_exact(engine.file) as session:
        return compare(score_in_batches(session, images, BATCH), found, targets, label_mask)
