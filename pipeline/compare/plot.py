"""Two panels that share their rows, methods from the best down: mAP with every seed, and what is gained or lost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

from benchmarks.report.placement import Rect
from benchmarks.report.scale import Scale, linear_ticks, padded, tick_text
from pipeline.compare.statistics import Gain
from pipeline.compare.table import Row

ROW_PX, NAMES_PX, TOP_PX, BOTTOM_PX = 38, 122, 34, 40
STACKED = 600  # pixels below which the panels stand one above the other
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
class Pipeline:
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
    named: bool  # whether the methods are written beside it
    lines: list[Pipeline]


@dataclass(frozen=True)
class Plot:
    """Geometry of the whole drawing."""

    width: int
    height: int
    panels: list[Panel]


def plot(rows: Sequence[Row], width: int) -> Plot | None:
    """None while there is no mAP to draw; an interval that does not contain its own value is left out."""
    shown = sorted(
        (row for row in rows if row.map and math.isfinite(row.map.mean)),
        key=lambda row: -(row.map.mean if row.map else 0),
    )
    if not shown:
        return None
    stacked = width < STACKED
    deep = TOP_PX + ROW_PX * len(shown) + BOTTOM_PX
    right = width - 16 if stacked else round(0.54 * width)
    second = Rect(NAMES_PX, deep + TOP_PX, width - 16, 2 * deep - BOTTOM_PX)
    if not stacked:
        second = Rect(right + 40, TOP_PX, width - 16, deep - BOTTOM_PX)
    panels = [_maps(shown, Rect(NAMES_PX, TOP_PX, right, deep - BOTTOM_PX)), _gains(shown, second)]
    return Plot(width, deep * (2 if stacked and panels[1] else 1), [panel for panel in panels if panel])


def _maps(rows: Sequence[Row], frame: Rect) -> Panel:
    scale = _scale([100 * value for row in rows for value in row.maps.values() if math.isfinite(value)], frame)
    lines = []
    for at, row in enumerate(rows):
        mean = 100 * row.map.mean if row.map else 0.0
        text = f"{row.method}: {mean:.2f}, seeds {', '.join(f'{100 * value:.2f}' for value in row.maps.values())}"
        dots = tuple(scale(100 * value) for value in row.maps.values() if math.isfinite(value))
        lines.append(Pipeline(name=row.method, y=_y(at, frame), dots=dots, mean=scale(mean), text=text))
    return Panel("test mAP", frame, _ticks(scale), None, True, lines)


def _gains(rows: Sequence[Row], frame: Rect) -> Panel | None:
    found = [gain for row in rows for gain in (row.to_no_teacher, row.to_published) if is_drawable(gain)]
    if not found:
        return None
    ends = [100 * value for gain in found for value in (gain.low, gain.high)]
    scale = _scale([0.0, *ends], frame)
    lines = []
    for at, row in enumerate(rows):
        y = _y(at, frame)
        pair = (("none", row.to_no_teacher, -OFFSET_PX), ("l2d", row.to_published, OFFSET_PX))
        bars = tuple(_bar(kind, gain, scale, y + shift, row.method) for kind, gain, shift in pair if is_drawable(gain))
        lines.append(Pipeline(name=row.method, y=y, bars=bars))
    named = frame.left <= NAMES_PX
    return Panel("difference of mAP", frame, _ticks(scale), scale(0.0), named, lines)


def is_drawable(gain: Gain | None) -> TypeGuard[Gain]:
    """Whether it has an interval of numbers around its value."""
    return gain is not None and -math.inf < gain.low <= gain.value <= gain.high < math.inf


def _bar(kind: str, gain: Gain, scale: Scale, y: float, method: str) -> Bar:
    value, low, high = 100 * gain.value, 100 * gain.low, 100 * gain.high
    text = f"{method} - {kind}: {value:+.2f} ({low:+.2f} to {high:+.2f})"
    return Bar(kind, scale(value), y, scale(low), scale(high), text)


def _scale(values: Sequence[float], frame: Rect) -> Scale:
    return Scale(*padded(values, share=0.06, least=0.3), frame.left, frame.right)


def _ticks(scale: Scale) -> list[tuple[float, str]]:
    about = max(4, round((scale.end - scale.start) / 60))
    ticks = linear_ticks(scale.low, scale.high, about)
    return [(scale(tick), tick_text(tick).replace("-", "−")) for tick in ticks]


def _y(at: int, frame: Rect) -> float:
    return frame.top + ROW_PX * (at + 0.5)
