"""The chart: end-to-end p90 (log) against mAP, as geometry that the template draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.report.devices import Device, of_device
from benchmarks.report.families import precision_of, runtime_of
from benchmarks.report.pareto import front
from benchmarks.report.placement import Rect, nearest, place
from benchmarks.report.rows import Row
from benchmarks.report.scale import Scale, linear_ticks, log_ticks, padded, tick_text

SHAPES = {
    "fp32": "M-5.5 0a5.5 5.5 0 1 0 11 0a5.5 5.5 0 1 0-11 0z",
    "fp16": "M-5-5h10v10h-10z",
    "bf16": "M0-7L7 0L0 7L-7 0z",
    "int8": "M0-7L6.6 5H-6.6z",
}
INNER = ("", "M-2 0a2 2 0 1 0 4 0a2 2 0 1 0-4 0z", "M-4 0h8", "M0-4v8", "M-3-3L3 3M-3 3L3-3")  # one a device
DASHES = ("", "7 4", "2 4", "9 3 2 3", "12 6")  # one a device
FONT_PX = 12.5
NARROW = 600  # pixels below which labels are shortened and fewer
MOST_LABELS = {True: 4, False: 12}  # by narrow


@dataclass(frozen=True)
class Mark:
    row: Row
    x: float
    y: float
    bar: tuple[float, float] | None  # top and bottom of the interval
    shape: str  # a key of SHAPES
    inner: str
    hue: str
    chosen: bool
    text: str
    label: Rect | None  # None where the chart has no room for every name
    leader: tuple[float, float] | None  # where a line from the point to a distant label ends

    @property
    def text_at(self) -> tuple[float, str]:
        """x and anchor of the text: it starts at the edge of its label that faces the point."""
        assert self.label is not None, self.text
        if self.label.left > self.x:
            return round(self.label.left, 1), "start"
        if self.label.right < self.x:
            return round(self.label.right, 1), "end"
        return round((self.label.left + self.label.right) / 2, 1), "middle"


@dataclass(frozen=True)
class Front:
    """What mAP can be had within a latency on one device."""

    device: Device
    path: str
    dashes: str
    corners: list[tuple[float, float]]


@dataclass(frozen=True)
class Scatter:
    width: int
    height: int
    frame: Rect
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    fronts: list[Front]
    marks: list[Mark]
    x: Scale
    y: Scale


def scatter(
    rows: Sequence[Row], devices: Sequence[Device], chosen: Sequence[Row], width: int, height: int
) -> Scatter | None:
    """None when there is nothing to plot.  `chosen` are the engines to ship, at most one a device."""
    shown = [row for row in rows if row.plotted]
    if not shown:
        return None
    frame = Rect(46, 20, width - 14, height - 46)
    x, y = _scales(shown, frame)
    fronts = [_front(of_device(shown, device), device, x, y, frame) for device in devices]
    fronts = [one for one in fronts if one.corners]
    return Scatter(
        width=width,
        height=height,
        frame=frame,
        x_ticks=[(x(tick), tick_text(tick)) for tick in log_ticks(x.low, x.high, most=max(4, width // 90))],
        y_ticks=[(y(tick), tick_text(tick)) for tick in linear_ticks(y.low, y.high)],
        fronts=fronts,
        marks=_marks(shown, devices, {row.at for row in chosen}, fronts, x, y, frame),
        x=x,
        y=y,
    )


def _front(rows: Sequence[Row], device: Device, x: Scale, y: Scale, frame: Rect) -> Front:
    corners = [(x(row.latency or 0), y(100 * (row.accuracy or 0))) for row in front(rows)]
    return Front(device, _steps(corners, frame), DASHES[device.at % len(DASHES)], corners)


def _scales(shown: Sequence[Row], frame: Rect) -> tuple[Scale, Scale]:
    latencies = [row.latency or 0.0 for row in shown]
    heights = [100 * value for row in shown for value in _interval(row)]
    low, high = padded(heights, share=0.14, least=1.0)
    return (
        _across(min(latencies), max(latencies), frame),
        Scale(max(low, -2.0), min(high, 102.0), frame.bottom, frame.top),
    )


def _across(low: float, high: float, frame: Rect) -> Scale:
    """Room on both sides for a name beside the outermost points, where the chart is wide enough."""
    left, right = (0.15, 0.08) if frame.right > NARROW else (0.1, 0.08)
    span = max(math.log(high / low) / (1 - left - right), math.log(2))
    spare = span * (1 - left - right) - math.log(high / low)
    return Scale(
        low / math.exp(left * span + spare / 2),
        high * math.exp(right * span + spare / 2),
        frame.left,
        frame.right,
        True,
    )


def _interval(row: Row) -> tuple[float, ...]:
    return tuple(value for value in (row.accuracy, *(row.drawn_interval or ())) if value is not None)


def _steps(corners: Sequence[tuple[float, float]], frame: Rect) -> str:
    """What mAP can be had within a latency: level until the next engine of the front, then up."""
    if not corners:
        return ""
    turns = "".join(f"H{x}V{y}" for x, y in corners[1:])
    return f"M{corners[0][0]} {corners[0][1]}{turns}H{frame.right}"


def _lines(corners: Sequence[tuple[float, float]], frame: Rect) -> list[Rect]:
    """The front as thin rectangles, for labels to keep off."""
    ends = [*[x for x, _ in corners[1:]], frame.right]
    return [Rect(x, y - 1, end, y + 1) for (x, y), end in zip(corners, ends, strict=False)]


def _marks(
    shown: Sequence[Row],
    devices: Sequence[Device],
    chosen: set[int],
    fronts: Sequence[Front],
    x: Scale,
    y: Scale,
    frame: Rect,
) -> list[Mark]:
    narrow, of_name = frame.right < NARROW, {device.name: device for device in devices}
    spots = {row.at: (x(row.latency or 0), y(100 * (row.accuracy or 0))) for row in shown}
    bars = {row.at: _bar(row, y) for row in shown}
    texts = {row.at: _text(row, of_name.get(row.device) if len(devices) > 1 else None, narrow) for row in shown}
    named = [row.at for row in _named(shown, chosen, narrow)]
    lines = [line for one in fronts for line in _lines(one.corners, frame)]
    obstacles = [*_obstacles(list(spots.values()), list(bars.values())), *lines]
    placed = place([spots[at] for at in named], [texts[at] for at in named], obstacles, frame, FONT_PX)
    labels = dict(zip(named, placed, strict=True))
    return [
        Mark(
            row=row,
            x=spots[row.at][0],
            y=spots[row.at][1],
            bar=bars[row.at],
            shape=precision_of(row),
            inner=INNER[of_name[row.device].at % len(INNER)] if row.device in of_name else "",
            hue=runtime_of(row),
            chosen=row.at in chosen,
            text=texts[row.at],
            label=labels.get(row.at),
            leader=_leader(spots[row.at], labels[row.at]) if row.at in labels else None,
        )
        for row in sorted(shown, key=lambda row: (row.at in chosen, row.engine))  # the later one lies on top
    ]


def _named(shown: Sequence[Row], chosen: set[int], narrow: bool) -> list[Row]:
    """Rows whose names are written: all if they are few, else what is to ship, the fastest reference of each model
    in torch and out of it (if narrow, of the teacher out of torch), and engines while there is room."""
    most = MOST_LABELS[narrow]
    if len(shown) <= most:
        return list(shown)
    first: dict[tuple[str, str, bool], Row] = {}
    for row in shown:
        model, torch = row.text("model"), runtime_of(row) == "torch"
        if not row.engine and (not narrow or (model == "teacher" and not torch)):
            first.setdefault((row.device, model, torch), row)
    known = list(first.values())
    ranked = sorted(shown, key=lambda row: (row.at not in chosen, row not in known))
    return [row for row in ranked if row.engine or row in known][:most]


def _bar(row: Row, y: Scale) -> tuple[float, float] | None:
    return (y(100 * row.drawn_interval[1]), y(100 * row.drawn_interval[0])) if row.drawn_interval else None


def _obstacles(spots: Sequence[tuple[float, float]], bars: Sequence[tuple[float, float] | None]) -> list[Rect]:
    found = [Rect(x - 9, y - 9, x + 9, y + 9) for x, y in spots]
    return found + [Rect(x - 4, bar[0] - 4, x + 4, bar[1] + 4) for (x, _), bar in zip(spots, bars, strict=True) if bar]


def _text(row: Row, device: Device | None, narrow: bool) -> str:
    """`device` is told by its letter where there are several."""
    most = 22 if narrow else 32
    name = row.name if len(row.name) <= most else row.name[: most - 1] + "…"
    mark = (" ~" if row.warnings else "") + (" †" if row.elsewhere else "")
    return (f"{device.letter} " if device else "") + name + mark


def _leader(spot: tuple[float, float], label: Rect) -> tuple[float, float] | None:
    end = nearest(spot, label)
    return end if math.dist(spot, end) > 18 else None
