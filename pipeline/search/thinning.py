"""The front of latency against capacity: which candidates of a screen are worth training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlkd.models.config import Model
from pipeline.search.rows import Verdict


def thin(kept: Sequence[Verdict], models: Mapping[str, Model]) -> dict[str, str]:
    """Return the candidates that are not worth training, each with the reason.

    Within a backbone and its weights, a candidate is dropped if another is at most as slow, by the bound of its p90,
    and has at least as many multiply-adds and parameters, one of the three strictly better.  Without the bound, noise
    in the times would drop candidates.  Candidates of different backbones or weights are not compared, as multiply-adds
    say nothing about their mAP.

    Args:
        kept: The candidates within the budget.
        models: The model of each candidate.
    """
    dropped = {}
    for verdict in kept:
        better = (one for one in kept if _comparable(one, verdict, models) and _dominates(one, verdict))
        if (first := next(better, None)) is not None:
            dropped[verdict.candidate] = f"{first.candidate} is at most as slow and at least as large"
    return dropped


def _comparable(one: Verdict, other: Verdict, models: Mapping[str, Model]) -> bool:
    first, second = models[one.candidate], models[other.candidate]
    return (first.backbone, first.weights) == (second.backbone, second.weights)


def _dominates(one: Verdict, other: Verdict) -> bool:
    larger = all(a >= b for a, b in zip(_size(one), _size(other), strict=True))
    differs = (one.p90_ms, _size(one)) != (other.p90_ms, _size(other))
    return larger and differs and one.latency.bound_ms <= other.p90_ms


def _size(verdict: Verdict) -> tuple[int, int]:
    """Multiply-adds and parameters, equal on every device."""
    row = next(iter(verdict.fastest.values()))
    return row.multiply_adds or 0, row.parameters or 0
