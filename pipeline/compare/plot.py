"""Two panels, best method first: mAP of every seed, and differences of mAP with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

from benchmarks.report.placement import Rect
from benchmarks.report.scale import Scale, padded
from pipeline.compare.statistics import Gain
from pipeline.compare.table import Row

WIDTH, ROW_PX, NAMES_PX, TOP_PX, BOTTOM_PX = 400, 36, 118, 34, 34
OFFSET_PX = 6.5  # of the two differences from the middle of their row


@dataclass(frozen=True)
class Bar:
    """A difference with its interval, in pixels."""

    kind: str  # class of its colour
    x: float
    y: float
    low: float
    high: float
    text: str


@dataclass(frozen=True)
class Line:
    """A method in one panel; `mean` and `dots` in the first, `bars` in the second."""

    name: str
    y: float
    dots: tuple[float, ...] = ()
    mean: float | None = None
    text: str = ""
    bars: tuple[Bar, ...] = ()


@dataclass(frozen=True)
class Panel:
    """Geometry of one panel."""

    title: str
    frame: Rect
    ticks: list[tuple[float, str]]
    zero: float | None
    lines: list[Line]
    width: int = WIDTH

    @property
    def height(self) -> float:
        return self.frame.bottom + BOTTOM_PX


def draw_panels(rows: Sequence[Row]) -> list[Panel]:
    """Return no panel while there is no mAP; an interval that does not contain its own value is not drawn."""
    shown = [row for row in rows if row.map and math.isfinite(row.map.mean)]
    if not shown:
        return []
    shown.sort(key=lambda row: -(row.map.mean if row.map else 0))
    frame = Rect(NAMES_PX, TOP_PX, WIDTH - 16, TOP_PX + ROW_PX * len(shown))
    return [_maps(shown, frame), *_gains(shown, frame)]


def _maps(rows: Sequence[Row], frame: Rect) -> Panel:
    scale = _scale([value for row in rows for value in row.maps.values() if math.isfinite(value)], frame)
    lines = []
    for at, row in enumerate(rows):
        mean = row.map.mean if row.map else 0.0
        text = f"{row.method}: {100 * mean:.2f}, seeds {', '.join(f'{100 * value:.2f}' for value in row.maps.values())}"
        dots = tuple(scale(100 * value) for value in row.maps.values() if math.isfinite(value))
        lines.append(Line(row.method, _y(at, frame), dots, scale(100 * mean), text))
    return Panel("test mAP", frame, scale.ticks(7), None, lines)


def _gains(rows: Sequence[Row], frame: Rect) -> list[Panel]:
    """Return one panel, or none where no difference can be drawn."""
    gains = [gain for row in rows for gain in (row.to_no_teacher, row.to_published) if is_drawable(gain)]
    if not gains:
        return []
    scale = _scale([0.0, *(end for gain in gains for end in (gain.low, gain.high))], frame)
    lines = []
    for at, row in enumerate(rows):
        y = _y(at, frame)
        pair = (("none", row.to_no_teacher, -OFFSET_PX), ("l2d", row.to_published, OFFSET_PX))
        bars = tuple(_bar(kind, gain, scale, y + shift, row.method) for kind, gain, shift in pair if is_drawable(gain))
        lines.append(Line(row.method, y, bars=bars))
    return [Panel("difference of mAP", frame, scale.ticks(7), scale(0.0), lines)]


def is_drawable(gain: Gain | None) -> TypeGuard[Gain]:
    """Whether it has an interval of numbers around its value."""
    return gain is not None and -math.inf < gain.low <= gain.value <= gain.high < math.inf


def _bar(kind: str, gain: Gain, scale: Scale, y: float, method: str) -> Bar:
    value, low, high = 100 * gain.value, 100 * gain.low, 100 * gain.high
    text = f"{method} - {kind}: {value:+.2f} ({low:+.2f} to {high:+.2f})"
    return Bar(kind, scale(value), y, scale(low), scale(high), text)


def _scale(values: Sequence[float], frame: Rect) -> Scale:
    """For points of mAP, from fractions."""
    return Scale(*padded([100 * value for value in values], share=0.06, least=0.3), frame.left, frame.right)


def _y(at: int, frame: Rect) -> float:
    return frame.top + ROW_PX * (at + 0.5)
