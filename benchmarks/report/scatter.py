"""The chart: end-to-end p90 (log) against mAP, as geometry that the template draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.report.cloud import Cloud, draw_cloud, widened
from benchmarks.report.devices import Device, of_device
from benchmarks.report.pareto import front
from benchmarks.report.placement import Rect, nearest, place
from benchmarks.report.rows import ReportRow
from benchmarks.report.scale import Scale, padded
from benchmarks.sections import SearchResult

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
    row: ReportRow
    x: float
    y: float
    bar: tuple[float, float] | None  # top and bottom of the interval
    shape: str  # a key of SHAPES
    inner: str
    hue: str
    chosen: bool
    text: str
    label: Rect | None = None  # where the chart has no room for every name

    @property
    def leader(self) -> tuple[float, float] | None:
        """Where a line from the point to a distant label ends."""
        end = nearest((self.x, self.y), self.label) if self.label else (self.x, self.y)
        return end if math.dist((self.x, self.y), end) > 18 else None

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
    corners: list[tuple[float, float]]
    right: float  # end of the last level

    @property
    def dashes(self) -> str:
        return DASHES[self.device.at % len(DASHES)]

    @property
    def path(self) -> str:
        """Level until the next engine of the front, then up."""
        turns = "".join(f"H{x}V{y}" for x, y in self.corners[1:])
        return f"M{self.corners[0][0]} {self.corners[0][1]}{turns}H{self.right}"

    @property
    def levels(self) -> list[Rect]:
        """The level parts as thin rectangles, for labels to keep off."""
        ends = [*[x for x, _ in self.corners[1:]], self.right]
        return [Rect(x, y - 1, end, y + 1) for (x, y), end in zip(self.corners, ends, strict=True)]


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
    cloud: Cloud | None


def scatter(
    rows: Sequence[ReportRow],
    devices: Sequence[Device],
    chosen: Sequence[ReportRow],
    width: int,
    height: int,
    search: SearchResult | None = None,
) -> Scatter | None:
    """None when there is nothing to plot.  `chosen` are the engines to deploy, at most one a device."""
    shown = [row for row in rows if row.plotted]
    if not shown:
        return None
    frame = Rect(46, 20, width - 14, height - 46)
    x, y = _scales(shown, frame, search, devices)
    cloud = draw_cloud(search, devices, x, y, frame) if search else None
    corners = [(device, [_spot(row, x, y) for row in front(of_device(shown, device))]) for device in devices]
    fronts = [Front(device, spots, frame.right) for device, spots in corners if spots]
    marks = _marks(shown, devices, {row.at for row in chosen}, x, y)
    lines = [level for one in fronts for level in one.levels]
    if cloud and cloud.budget:
        lines.append(Rect(cloud.budget[0] - 2, frame.top, cloud.budget[0] + 2, frame.bottom))
    return Scatter(
        width=width,
        height=height,
        frame=frame,
        x_ticks=x.ticks(max(4, width // 90)),
        y_ticks=y.ticks(6),
        fronts=fronts,
        marks=_labelled(marks, lines, frame),
        x=x,
        y=y,
        cloud=cloud,
    )


def _spot(row: ReportRow, x: Scale, y: Scale) -> tuple[float, float]:
    return x(row.latency or 0.0), y(100 * (row.map or 0.0))


def _scales(
    shown: Sequence[ReportRow], frame: Rect, search: SearchResult | None, devices: Sequence[Device]
) -> tuple[Scale, Scale]:
    latencies, heights = widened(
        [row.latency or 0.0 for row in shown],
        [100 * value for row in shown for value in (row.map or 0.0, *(row.drawn_interval or ()))],
        search,
        devices,
    )
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


def _marks(shown: Sequence[ReportRow], devices: Sequence[Device], chosen: set[int], x: Scale, y: Scale) -> list[Mark]:
    """In the order of the rows, without labels."""
    of_name = {device.name: device for device in devices}
    marks = []
    for row in shown:
        device, interval, spot = of_name.get(row.device), row.drawn_interval, _spot(row, x, y)
        mark = Mark(
            row=row,
            x=spot[0],
            y=spot[1],
            bar=(y(100 * interval[1]), y(100 * interval[0])) if interval else None,
            shape=row.precision_family,
            inner=INNER[device.at % len(INNER)] if device else "",
            hue=row.runtime_family,
            chosen=row.at in chosen,
            text=_text(row, device if len(devices) > 1 else None, narrow=x.end < NARROW),
        )
        marks.append(mark)
    return marks


def _labelled(marks: Sequence[Mark], lines: Sequence[Rect], frame: Rect) -> list[Mark]:
    """Add labels that cover no point, interval or line where there is room; later marks lie on top."""
    obstacles = [Rect(mark.x - 9, mark.y - 9, mark.x + 9, mark.y + 9) for mark in marks]
    obstacles += [Rect(mark.x - 4, mark.bar[0] - 4, mark.x + 4, mark.bar[1] + 4) for mark in marks if mark.bar]
    named = _named(marks, frame.right < NARROW)
    spots, texts = [(mark.x, mark.y) for mark in named], [mark.text for mark in named]
    placed = place(spots, texts, [*obstacles, *lines], frame, FONT_PX)
    labels = {mark.row.at: label for mark, label in zip(named, placed, strict=True)}
    ordered = sorted(marks, key=lambda mark: (mark.chosen, mark.row.engine))
    return [replace(mark, label=labels.get(mark.row.at)) for mark in ordered]


def _named(marks: Sequence[Mark], narrow: bool) -> list[Mark]:
    """Return the rows with a label: all if they are few, else engines to deploy and the fastest of other models.

    Of each other student that is its fastest engine, of a reference the fastest in torch and out of it (if narrow, of
    the teacher out of torch); other engines follow while there is room.
    """
    most = MOST_LABELS[narrow]
    if len(marks) <= most:
        return list(marks)
    first: dict[tuple[str, str, bool], int] = {}
    for mark in marks:
        row, model, torch = mark.row, mark.row.model, mark.hue == "torch"
        reference = not row.engine and (not narrow or (model == "teacher" and not torch))
        if reference or (row.engine and not row.in_bundle):
            first.setdefault((row.device, model, torch), row.at)
    known = set(first.values())
    ranked = sorted(marks, key=lambda mark: (not mark.chosen, mark.row.at not in known))
    return [mark for mark in ranked if mark.row.engine or mark.row.at in known][:most]


def _text(row: ReportRow, device: Device | None, *, narrow: bool) -> str:
    """`device` is told by its letter where there are several."""
    most = 22 if narrow else 32
    name = row.name if len(row.name) <= most else row.name[: most - 1] + "…"
    mark = (" ~" if row.warnings else "") + (" †" if row.elsewhere else "")
    return (f"{device.letter} " if device else "") + name + mark
