"""Two panels, best method first: mAP of every seed, and differences of mAP with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

from benchmarks.report.placement import Rect
from benchmarks.report.scale import Scale, padded
from pipeline.compare.statistics import Gain
from pipeline.compare.table import Row
from pipeline.recipe.methods import CONTROLS

WIDTH, ROW_PX, NAMES_PX, TOP_PX, BOTTOM_PX = 400, 36, 118, 34, 34
OFFSET_PX = 9  # between the differences of a row


@dataclass(frozen=True)
class Mark:
    """The mAP of a seed, the mean over seeds, or the difference to a control; x, low and high share a unit."""

    kind: str  # seed, mean, or the name of a control
    x: float
    low: float
    high: float
    y: float  # pixels
    text: str


@dataclass(frozen=True)
class Panel:
    """Geometry of one panel, in pixels."""

    title: str
    frame: Rect
    ticks: list[tuple[float, str]]
    names: list[tuple[str, float]]  # of the methods, with their y
    marks: list[Mark]
    zero: float | None
    width: int = WIDTH

    @property
    def height(self) -> float:
        return self.frame.bottom + BOTTOM_PX


def draw_panels(rows: Sequence[Row]) -> list[Panel]:
    """Leave out methods without mAP, intervals that are no numbers, and panels without a mark."""
    shown = [row for row in rows if row.map and math.isfinite(row.map.mean)]
    shown.sort(key=lambda row: -(row.map.mean if row.map else 0))
    frame = Rect(NAMES_PX, TOP_PX, WIDTH - 16, TOP_PX + ROW_PX * len(shown))
    placed = [(row, frame.top + ROW_PX * (index + 0.5)) for index, row in enumerate(shown)]
    names = [(row.method, y) for row, y in placed]
    maps = [mark for row, y in placed for mark in _map_marks(row, y)]
    gains = [mark for row, y in placed for mark in _gain_marks(row, y)]
    panels = [_panel("test mAP", frame, names, maps)] if maps else []
    return [*panels, _panel("difference of mAP", frame, names, gains, zero=True)] if gains else panels


def is_drawable(gain: Gain | None) -> TypeGuard[Gain]:
    """Whether it has an interval of numbers around its value."""
    return gain is not None and -math.inf < gain.low <= gain.value <= gain.high < math.inf


def _map_marks(row: Row, y: float) -> list[Mark]:
    mean = 100 * row.map.mean if row.map else 0.0
    values = [100 * value for value in row.maps.values()]
    text = f"{row.method}: {mean:.2f}, seeds {', '.join(f'{value:.2f}' for value in values)}"
    seeds = [Mark("seed", value, value, value, y, text) for value in values if math.isfinite(value)]
    return [*seeds, Mark("mean", mean, mean, mean, y, text)]


def _gain_marks(row: Row, y: float) -> list[Mark]:
    marks = []
    for place, kind in enumerate(CONTROLS):
        gain, shift = row.gains.get(kind), OFFSET_PX * (place - 1)
        if is_drawable(gain):
            value, low, high = 100 * gain.value, 100 * gain.low, 100 * gain.high
            text = f"{row.method} - {kind}: {value:+.2f} ({low:+.2f} to {high:+.2f})"
            marks.append(Mark(kind, value, low, high, y + shift, text))
    return marks


def _panel(
    title: str, frame: Rect, names: list[tuple[str, float]], marks: Sequence[Mark], *, zero: bool = False
) -> Panel:
    ends = [end for mark in marks for end in (mark.low, mark.high)]
    low, high = padded([*ends, *([0.0] if zero else [])], share=0.06, least=0.3)
    x = Scale(low, high, frame.left, frame.right)
    placed = [replace(mark, x=x(mark.x), low=x(mark.low), high=x(mark.high)) for mark in marks]
    return Panel(title, frame, x.ticks(7), names, placed, x(0.0) if zero else None)
