"""Compares scores with float reference scores: differences, decisions, mAP and AP by label.

The comparison needs real images with targets: random input says nothing about a quantized model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.config import Gates as Gates
from export.config import ParityLimits as ParityLimits
from mlkd.core.groups import Groups
from mlkd.core.intervals import difference_interval
from mlkd.core.metrics import average_precision

MOST_LABELS, NAMED_LABELS = 10, 3  # in the result, in an error


@dataclass(frozen=True)
class LabelLoss:
    """A label with a lower AP than in the reference; AP as fractions."""

    label: str
    float_ap: float
    ap: float
    positives: int  # images known to have it


@dataclass(frozen=True)
class Parity:
    """Differences of a candidate's scores from the reference's."""

    max_difference: float
    mean_difference: float
    flipped: float  # share of all (image, label) decisions, 0..1
    delta_map: float  # candidate minus reference, fraction
    low: float  # end of its 95 % confidence interval
    high: float
    hurt: tuple[LabelLoss, ...]  # the ten labels with the largest loss of AP, largest first


def differences(
    reference: NDArray[np.float32],
    candidate: NDArray[np.float32],
    targets: NDArray[np.uint8],
    thresholds: NDArray[np.float32],
    *,
    labels: Sequence[str],
    groups: Groups,
    label_mask: NDArray[np.bool_] | None = None,
) -> Parity:
    """Compare scores (N, L) of the same images; `thresholds` (L,) are those of the reference and used for both.

    AP and mAP ignore unknown labels by `label_mask` (N, L), and labels without positives.  Images with equal `groups`
    (N,) depend on each other.  ValueError for wrong shapes, scores that are not finite, and no positive at all.
    """
    _check_shapes(targets, thresholds, labels, groups)
    for name, scores in (("reference", reference), ("candidate", candidate)):
        if scores.shape != targets.shape or not np.isfinite(scores).all():
            raise ValueError(f"parity: {name}: expected finite scores {targets.shape}, got {scores.shape} or nan")
    positives = (targets.astype(bool) & (True if label_mask is None else label_mask)).sum(0)
    if not positives.any():
        raise ValueError(
            f"parity: expected real images with labels, got {len(targets)} without a known positive; label val first"
        )
    distance = np.abs(candidate.astype(np.float64) - reference.astype(np.float64))
    change = difference_interval(candidate, reference, targets, groups, label_mask=label_mask)
    aps = [average_precision(scores, targets, label_mask).tolist() for scores in (reference, candidate)]
    losses = [LabelLoss(*loss) for loss in zip(labels, *aps, positives.tolist(), strict=True)]
    return Parity(
        max_difference=float(distance.max()),
        mean_difference=float(distance.mean()),
        flipped=float(((reference >= thresholds) != (candidate >= thresholds)).mean()),
        delta_map=change.value,
        low=change.low,
        high=change.high,
        hurt=_largest_losses(losses),
    )


def check(parity: Parity, limits: ParityLimits, name: str) -> None:
    """Raise ValueError if a difference exceeds its limit; the message lists all of them and the worst labels."""
    actual = {
        "max_difference": parity.max_difference,
        "mean_difference": parity.mean_difference,
        "flipped": parity.flipped,
        "map_loss": -parity.high,
    }
    allowed = {key: value for key, value in vars(limits).items() if value is not None}
    over = [
        f"{key}: expected at most {limit:g}, got {actual[key]:.3g}"
        for key, limit in allowed.items()
        if actual[key] > limit
    ]
    if over:
        worst = ", ".join(
            f"{loss.label} (AP {loss.float_ap:.3f} to {loss.ap:.3f})" for loss in parity.hurt[:NAMED_LABELS]
        )
        raise ValueError(
            f"parity of {name}: {'; '.join(over)}; worst labels: {worst or 'none'}; keep more layers in "
            "float; if the graph is float already, compare it with the torch model"
        )


def _check_shapes(
    targets: NDArray[np.uint8], thresholds: NDArray[np.float32], labels: Sequence[str], groups: Groups
) -> None:
    if targets.ndim != 2 or not len(targets):
        raise ValueError(f"parity: expected targets (N, L) of at least 1 image, got {targets.shape}")
    expected = {"thresholds": targets.shape[1:], "labels": targets.shape[1:], "groups": targets.shape[:1]}
    given = {"thresholds": thresholds.shape, "labels": (len(labels),), "groups": (len(groups),)}
    for name, shape in expected.items():
        if given[name] != shape:
            raise ValueError(f"parity: {name}: expected {shape} for targets {targets.shape}, got {given[name]}")


def _largest_losses(losses: Sequence[LabelLoss]) -> tuple[LabelLoss, ...]:
    lost = [loss for loss in losses if loss.ap < loss.float_ap]  # never for nan, the AP of a label without positives
    return tuple(sorted(lost, key=lambda loss: (loss.ap - loss.float_ap, loss.label))[:MOST_LABELS])
