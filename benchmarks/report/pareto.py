"""Which engines no other engine of the same device beats in both latency and mAP."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from benchmarks.report.recommendation import significantly_different
from benchmarks.report.rows import Row


def front(rows: Sequence[Row]) -> list[Row]:
    """Return the engines that no other beats in latency and mAP, the fastest first; equal points are all on the front.

    `rows` are of one device; references are never on the front.
    """
    engines = sorted((row for row in rows if row.engine and row.plotted), key=_fast_then_accurate)
    best: list[Row] = []
    for row in engines:
        if not best or _accuracy(row) > _accuracy(best[-1]) or _point(row) == _point(best[-1]):
            best.append(row)
    return best


def overlapping(best: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Return neighbours on the front whose intervals overlap: the slower one is not shown to be better."""
    return [(a, b) for a, b in itertools.pairwise(best) if not significantly_different(a, b)]


def paired(best: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Return neighbours on the front that differ significantly only by their paired intervals."""
    return [
        (a, b)
        for a, b in itertools.pairwise(best)
        if significantly_different(a, b) and _overlap(a.interval, b.interval)
    ]


def undecided(rows: Sequence[Row], best: Sequence[Row]) -> list[Row]:
    """Return engines that are slower than the front with no significant difference in mAP."""
    fronts = {row.at for row in best}
    off = [row for row in rows if row.engine and row.plotted and row.at not in fronts]
    return [row for row in off if not any(significantly_different(row, faster) for faster in _beating(row, best))]


def front_line(rows: Sequence[Row], best: Sequence[Row]) -> str:
    """Describe the front, and which differences are not significant."""
    if not best:
        return "No engine was measured with both a latency and a mAP."
    line = " → ".join(row.name for row in best) + "."
    if close := overlapping(best):
        line += f" No significant difference in mAP between {_names(close)}."
    if apart := paired(best):
        line += f" The mAP intervals of {_names(apart)} overlap, but their paired difference is significant."
    if slower := undecided(rows, best):
        line += f" Slower, with no significant difference in mAP: {', '.join(row.name for row in slower)}."
    return line


def _names(pairs: Sequence[tuple[Row, Row]]) -> str:
    return ", ".join(f"{a.name} and {b.name}" for a, b in pairs)


def _overlap(a: tuple[float, float] | None, b: tuple[float, float] | None) -> bool:
    return a is not None and b is not None and a[0] <= b[1] and b[0] <= a[1]


def _beating(row: Row, best: Sequence[Row]) -> list[Row]:
    return [other for other in best if _latency(other) <= _latency(row) and _accuracy(other) >= _accuracy(row)]


def _accuracy(row: Row) -> float:
    return row.accuracy or 0.0


def _latency(row: Row) -> float:
    return row.latency or 0.0


def _point(row: Row) -> tuple[float, float]:
    return _latency(row), _accuracy(row)


def _fast_then_accurate(row: Row) -> tuple[float, float]:
    return _latency(row), -_accuracy(row)
