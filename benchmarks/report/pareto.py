"""Which engines no other engine beats in both latency and mAP."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from benchmarks.report.rows import Row


def front(rows: Sequence[Row]) -> list[Row]:
    """Engines with a latency and a mAP that no engine matches in one and beats in the other; the fastest first.

    References are never candidates.  Equal points are all kept.
    """
    candidates = sorted((row for row in rows if row.engine and row.plotted), key=_fast_then_accurate)
    kept: list[Row] = []
    for row in candidates:
        if not kept or _accuracy(row) > _accuracy(kept[-1]) or _point(row) == _point(kept[-1]):
            kept.append(row)
    return kept


def overlapping(kept: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Neighbours on the front whose mAP intervals overlap: the chart does not show that the slower one is better."""
    return [(a, b) for a, b in itertools.pairwise(kept) if _overlap(a, b)]


def _overlap(a: Row, b: Row) -> bool:
    high, low = a.number("map_high"), b.number("map_low")
    return high is not None and low is not None and high >= low


def _accuracy(row: Row) -> float:
    return row.accuracy or 0.0


def _point(row: Row) -> tuple[float, float]:
    return row.latency or 0.0, _accuracy(row)


def _fast_then_accurate(row: Row) -> tuple[float, float]:
    return row.latency or 0.0, -_accuracy(row)
