"""How far two ways of computing the same scores are apart, in decisions and mAP as well as in numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlkd.metrics import mean_average_precision

Tagging = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True)
class Parity:
    """Differences of a candidate's scores to the reference's."""

    max_difference: float
    mean_difference: float
    flipped: float  # share of all (picture, label) decisions, 0..1
    delta_map: float  # candidate minus reference, fraction; nan without positives


@dataclass(frozen=True, kw_only=True)
class ParityLimits:
    """The largest differences that are let through; None is not checked."""

    max_difference: float | None = None
    mean_difference: float | None = None
    flipped: float | None = None
    map_loss: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"parity.{name}: expected 0..1 or none, got {value}")


def compare(
    reference: Tagging,
    candidate: Tagging,
    images: NDArray[np.uint8],
    targets: NDArray[np.uint8],
    thresholds: NDArray[np.float32],
    known: NDArray[np.bool_] | None = None,
    *,
    batch: int = 32,
) -> Parity:
    """Run both over images (N, H, W, 3); `thresholds` (L,) belong to the reference and decide for both.

    mAP leaves out what is not `known` (N, L).
    """
    if not len(images) or len(images) != len(targets):
        raise ValueError(f"parity: expected as many pictures as targets and at least 1, got {len(images)}")
    scores = _scores(reference, images, batch), _scores(candidate, images, batch)
    return differences(*scores, targets, thresholds, known)


def differences(
    reference: NDArray[np.float32],
    candidate: NDArray[np.float32],
    targets: NDArray[np.uint8],
    thresholds: NDArray[np.float32],
    known: NDArray[np.bool_] | None = None,
) -> Parity:
    """The same from scores (N, L) that are there already; ValueError if any is not a number."""
    for name, scores in (("reference", reference), ("candidate", candidate)):
        if scores.shape != targets.shape or not np.isfinite(scores).all():
            raise ValueError(f"parity: {name}: expected finite scores {targets.shape}, got {scores.shape} or nan")
    apart = np.abs(candidate.astype(np.float64) - reference.astype(np.float64))
    maps = [mean_average_precision(scores, targets, known) for scores in (reference, candidate)]
    return Parity(
        max_difference=float(apart.max()),
        mean_difference=float(apart.mean()),
        flipped=float(((reference >= thresholds) != (candidate >= thresholds)).mean()),
        delta_map=maps[1] - maps[0],
    )


def check(parity: Parity, limits: ParityLimits, name: str = "candidate") -> None:
    """ValueError that lists everything over its limit."""
    found = {
        "max_difference": parity.max_difference,
        "mean_difference": parity.mean_difference,
        "flipped": parity.flipped,
        "map_loss": -parity.delta_map,
    }
    allowed = {key: value for key, value in vars(limits).items() if value is not None}
    over = [
        f"{key}: expected at most {limit:g}, got {found[key]:g}" for key, limit in allowed.items() if found[key] > limit
    ]
    if over:
        raise ValueError(f"parity of {name}: {'; '.join(over)}; keep more layers in float or raise the recipe's limit")


def _scores(tagging: Tagging, images: NDArray[np.uint8], batch: int) -> NDArray[np.float32]:
    return np.concatenate([tagging(images[start : start + batch]) for start in range(0, len(images), batch)])
