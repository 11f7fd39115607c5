"""Which engines no other engine of the same device beats in both latency and mAP."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from benchmarks.report.recommendation import told_apart
from benchmarks.report.rows import Row


def front(rows: Sequence[Row]) -> list[Row]:
    """Engines with a latency and a mAP that no engine matches in one and beats in the other; the fastest first.

    `rows` are of one device.  References are never candidates.  Equal points are all kept.
    """
    candidates = sorted((row for row in rows if row.engine and row.plotted), key=_fast_then_accurate)
    kept: list[Row] = []
    for row in candidates:
        if not kept or _accuracy(row) > _accuracy(kept[-1]) or _point(row) == _point(kept[-1]):
            kept.append(row)
    return kept


def overlapping(kept: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Neighbours on the front whose intervals overlap: the test does not show that the slower one is better."""
    return [(a, b) for a, b in itertools.pairwise(kept) if not told_apart(a, b)]


def paired(kept: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Neighbours on the front that only the paired intervals tell apart, not those that the chart shows."""
    return [(a, b) for a, b in itertools.pairwise(kept) if told_apart(a, b) and _overlap(a.interval, b.interval)]


def undecided(rows: Sequence[Row], kept: Sequence[Row]) -> list[Row]:
    """Engines off the front that are slower than it but not shown to tag worse: their intervals reach it."""
    fronts = {row.at for row in kept}
    off = [row for row in rows if row.engine and row.plotted and row.at not in fronts]
    return [row for row in off if not any(told_apart(row, faster) for faster in _beating(row, kept))]


def front_line(rows: Sequence[Row], kept: Sequence[Row]) -> str:
    """The front in words, and what it does not show."""
    if not kept:
        return "No engine was measured with both a latency and a mAP."
    line = " → ".join(row.name for row in kept) + "."
    if close := overlapping(kept):
        line += f" No significant difference in mAP between {_names(close)}."
    if apart := paired(kept):
        told = "overlap, but their paired difference is significant"
        line += f" The mAP intervals of {_names(apart)} {told}."
    if slower := undecided(rows, kept):
        line += f" Slower, with no significant difference in mAP: {', '.join(row.name for row in slower)}."
    return line


def _names(pairs: Sequence[tuple[Row, Row]]) -> str:
    return ", ".join(f"{a.name} and {b.name}" for a, b in pairs)


def _overlap(a: tuple[float, float] | None, b: tuple[float, float] | None) -> bool:
    return a is not None and b is not None and a[0] <= b[1] and b[0] <= a[1]


def _beating(row: Row, kept: Sequence[Row]) -> list[Row]:
    return [one for one in kept if (one.latency or 0.0) <= (row.latency or 0.0) and _accuracy(one) >= _accuracy(row)]


def _accuracy(row: Row) -> float:
    return row.accuracy or 0.0


def _point(row: Row) -> tuple[float, float]:
    return row.latency or 0.0, _accuracy(row)


def _fast_then_accurate(row: Row) -> tuple[float, float]:
    return row.latency or 0.0, -_accuracy(row)
