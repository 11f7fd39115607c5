"""Which engines no other engine of the same device beats in both latency and mAP."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from benchmarks.report.comparison import significantly_different
from benchmarks.report.rows import ReportRow


def front(rows: Sequence[ReportRow]) -> list[ReportRow]:
    """Return the engines that no other beats in latency and mAP, the fastest first; equal points are all on the front.

    `rows` are of one device; references are never on the front.
    """
    engines = sorted((row for row in rows if row.engine and row.plotted), key=lambda row: (row.point[0], -row.point[1]))
    best: list[ReportRow] = []
    for row in engines:
        if not best or row.point[1] > best[-1].point[1] or row.point == best[-1].point:
            best.append(row)
    return best


def overlapping(best: Sequence[ReportRow]) -> list[tuple[ReportRow, ReportRow]]:
    """Return neighbours on the front whose intervals overlap: the slower one is not shown to be better."""
    return [(a, b) for a, b in itertools.pairwise(best) if not significantly_different(a, b)]


def paired(best: Sequence[ReportRow]) -> list[tuple[ReportRow, ReportRow]]:
    """Return neighbours on the front that differ significantly only by their paired intervals."""
    return [
        (a, b)
        for a, b in itertools.pairwise(best)
        if significantly_different(a, b) and _overlap(a.interval, b.interval)
    ]


def undecided(rows: Sequence[ReportRow], best: Sequence[ReportRow]) -> list[ReportRow]:
    """Return engines that are slower than the front with no significant difference in mAP."""
    fronts = {row.at for row in best}
    off = [row for row in rows if row.engine and row.plotted and row.at not in fronts]
    return [row for row in off if not any(significantly_different(row, faster) for faster in _beating(row, best))]


def front_line(rows: Sequence[ReportRow], best: Sequence[ReportRow]) -> str:
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


def _names(pairs: Sequence[tuple[ReportRow, ReportRow]]) -> str:
    return ", ".join(f"{a.name} and {b.name}" for a, b in pairs)


def _overlap(a: tuple[float, float] | None, b: tuple[float, float] | None) -> bool:
    return a is not None and b is not None and a[0] <= b[1] and b[0] <= a[1]


def _beating(row: ReportRow, best: Sequence[ReportRow]) -> list[ReportRow]:
    return [other for other in best if other.point[0] <= row.point[0] and other.point[1] >= row.point[1]]
