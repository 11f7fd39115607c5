"""Draw what can be drawn, and name what cannot: a page never fails because of a number."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from benchmarks.report import figures
from benchmarks.report.rows import ReportRow

log = logging.getLogger(__name__)
Drawing = TypeVar("Drawing")
Empty = TypeVar("Empty")


def draw_or_name(name: str, draw: Callable[[], Drawing], empty: Empty, gaps: list[str]) -> Drawing | Empty:
    """The drawing; where its numbers cannot be drawn `empty`, with a line in `gaps` that names it and the cause."""
    try:
        return draw()
    except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError) as cause:
        log.warning("%s is not drawn: %s: %s", name, type(cause).__name__, cause)
        gaps.append(f"{name} is not drawn: {cause}")
        return empty


def intervals_not_drawn(rows: Sequence[ReportRow]) -> list[str]:
    """A line for each row whose interval does not contain its own mAP."""
    wrong = [(row, row.interval) for row in rows if row.plotted and row.interval and not row.drawn_interval]
    return [
        f"the 95 % interval of {row.name} is not drawn: {figures.interval(*found)} "
        f"does not contain its mAP {figures.points(row.map)}"
        for row, found in wrong
    ]
