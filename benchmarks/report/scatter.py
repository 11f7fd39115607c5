"""The chart: end-to-end p90 (log) against mAP, as geometry that the template draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.report.pareto import front
from benchmarks.report.placement import Rect, nearest, place
from benchmarks.report.rows import Row
from benchmarks.report.scale import Scale, linear_ticks, log_ticks, padded, tick_text

HUES = ("openvino", "onnxruntime", "tensorrt", "torch")
SHAPES = {
    "circle": "M-5.5 0a5.5 5.5 0 1 0 11 0a5.5 5.5 0 1 0-11 0z",
    "square": "M-5-5h10v10h-10z",
    "diamond": "M0-7L7 0L0 7L-7 0z",
    "triangle": "M0-7L6.6 5H-6.6z",
}
SHAPE_OF = {"fp32": "circle", "f32": "circle", "fp16": "square", "f16": "square", "bf16": "diamond", "int8": "triangle"}
FONT_PX = 12.5
NARROW = 600  # pixels below which labels are shortened


@dataclass(frozen=True)
class Mark:
    row: Row
    x: float
    y: float
    bar: tuple[float, float] | None  # top and bottom of the interval
    path: str
    hue: str
    chosen: bool
    on_front: bool
    text: str
    label: Rect
    leader: tuple[float, float] | None  # where a line from the point to a distant label ends

    @property
    def text_at(self) -> tuple[float, str]:
        """x and anchor of the text: it starts at the edge of its label that faces the point."""
        if self.label.left > self.x:
            return round(self.label.left, 1), "start"
        if self.label.right < self.x:
            return round(self.label.right, 1), "end"
        return round((self.label.left + self.label.right) / 2, 1), "middle"


@dataclass(frozen=True)
class Scatter:
    width: int
    height: int
    frame: Rect
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    steps: str
    floor: float | None
    marks: list[Mark]


def scatter(rows: Sequence[Row], chosen: Row | None, floor: float | None, width: int, height: int) -> Scatter | None:
    """None when there is nothing to plot.  `floor` is the mAP an engine must keep to be chosen."""
    shown = [row for row in rows if row.plotted]
    if not shown:
        return None
    frame = Rect(46, 20, width - 14, height - 46)
    x, y = _scales(shown, frame)
    kept = front(shown)
    corners = [(x(row.latency or 0), y(100 * (row.accuracy or 0))) for row in kept]
    level = y(100 * floor) if floor is not None and y.low < 100 * floor < y.high else None
    return Scatter(
        width=width,
        height=height,
        frame=frame,
        x_ticks=[(x(tick), tick_text(tick)) for tick in log_ticks(x.low, x.high, most=max(4, width // 90))],
        y_ticks=[(y(tick), tick_text(tick)) for tick in linear_ticks(y.low, y.high)],
        steps=_steps(corners, frame),
        floor=level,
        marks=_marks(shown, kept, chosen, x, y, frame, _lines(corners, level, frame)),
    )


def _scales(shown: Sequence[Row], frame: Rect) -> tuple[Scale, Scale]:
    latencies = [row.latency or 0.0 for row in shown]
    heights = [100 * value for row in shown for value in _interval(row)]
    low, high = padded(heights, share=0.14, least=1.0)
    return (
        Scale(min(latencies) / 1.35, max(latencies) * 1.35, frame.left, frame.right, log=True),
        Scale(max(low, -2.0), min(high, 102.0), frame.bottom, frame.top),
    )


def _interval(row: Row) -> tuple[float, ...]:
    values = (row.accuracy, row.number("map_low"), row.number("map_high"))
    return tuple(value for value in values if value is not None)


def _steps(corners: Sequence[tuple[float, float]], frame: Rect) -> str:
    """What mAP can be had within a latency: level until the next engine of the front, then up."""
    if not corners:
        return ""
    turns = "".join(f"H{x}V{y}" for x, y in corners[1:])
    return f"M{corners[0][0]} {corners[0][1]}{turns}H{frame.right}"


def _lines(corners: Sequence[tuple[float, float]], level: float | None, frame: Rect) -> list[Rect]:
    """The front and the floor as thin rectangles, for labels to keep off."""
    found = [] if level is None else [Rect(frame.left, level - 1, frame.right, level + 1)]
    ends = [*[x for x, _ in corners[1:]], frame.right]
    return found + [Rect(x, y - 1, end, y + 1) for (x, y), end in zip(corners, ends, strict=False)]


def _marks(
    shown: Sequence[Row],
    kept: Sequence[Row],
    chosen: Row | None,
    x: Scale,
    y: Scale,
    frame: Rect,
    lines: Sequence[Rect],
) -> list[Mark]:
    spots = [(x(row.latency or 0), y(100 * (row.accuracy or 0))) for row in shown]
    bars = [_bar(row, y) for row in shown]
    texts = [_text(row, narrow=frame.right < NARROW) for row in shown]
    labels = place(spots, texts, [*_obstacles(spots, bars), *lines], frame, FONT_PX)
    return [
        Mark(
            row=row,
            x=spot[0],
            y=spot[1],
            bar=bar,
            path=SHAPES[_shape(row)],
            hue=_hue(row),
            chosen=chosen is not None and row.at == chosen.at,
            on_front=row in kept,
            text=text,
            label=label,
            leader=_leader(spot, label),
        )
        for row, spot, bar, text, label in zip(shown, spots, bars, texts, labels, strict=True)
    ]


def _bar(row: Row, y: Scale) -> tuple[float, float] | None:
    low, high = row.number("map_low"), row.number("map_high")
    return None if low is None or high is None else (y(100 * high), y(100 * low))


def _obstacles(spots: Sequence[tuple[float, float]], bars: Sequence[tuple[float, float] | None]) -> list[Rect]:
    found = [Rect(x - 9, y - 9, x + 9, y + 9) for x, y in spots]
    return found + [Rect(x - 4, bar[0] - 4, x + 4, bar[1] + 4) for (x, _), bar in zip(spots, bars, strict=True) if bar]


def _text(row: Row, narrow: bool) -> str:
    most, reference = (22, " (ref.)") if narrow else (32, " (reference)")
    name = row.name if len(row.name) <= most else row.name[: most - 1] + "…"
    return name + ("" if row.engine else reference) + (" ~" if row.warnings else "")


def _shape(row: Row) -> str:
    """By what the products were computed in, else by the precision of the file (int8_x86 counts as int8)."""
    words = (row.text("compute").lower(), row.text("precision").lower())
    return next((shape for word in words for kind, shape in SHAPE_OF.items() if word.startswith(kind)), "circle")


def _hue(row: Row) -> str:
    """A class name of ours, whatever the row says."""
    runtime = row.text("runtime").lower()
    return next((hue for hue in HUES if runtime.startswith(hue)), "other")


def _leader(spot: tuple[float, float], label: Rect) -> tuple[float, float] | None:
    end = nearest(spot, label)
    return end if math.dist(spot, end) > 18 else None
