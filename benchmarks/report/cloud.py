"""The candidates of a search behind the chart: latency before training against mAP on the split select."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.report import figures
from benchmarks.report.devices import Device
from benchmarks.report.placement import Rect
from benchmarks.report.scale import Scale
from benchmarks.sections import Screened, SearchResult

WIDER = 2.0  # times: what candidates may add to the latencies of the engines at either end
HIGHER = 15.0  # points of mAP: what candidates may add at either end, if the engines span less


@dataclass(frozen=True)
class Dot:
    """A candidate on a device; y is None for one that was not trained: a tick on the axis."""

    device: Device
    x: float
    y: float | None
    text: str


@dataclass(frozen=True)
class Cloud:
    """What is drawn of a search: candidates, how many are outside the frame, and the place and text of the budget."""

    dots: list[Dot]
    outside: int
    epochs: str  # of the trained candidates
    budget: tuple[float, str] | None

    @property
    def trained(self) -> bool:
        """Whether a candidate with mAP is drawn."""
        return any(dot.y is not None for dot in self.dots)

    @property
    def untrained(self) -> bool:
        """Whether a candidate without mAP is drawn."""
        return any(dot.y is None for dot in self.dots)


def widened(
    latencies: Sequence[float], heights: Sequence[float], search: SearchResult | None, devices: Sequence[Device]
) -> tuple[list[float], list[float]]:
    """Add the candidates and the budget that are near enough to the engines to the latencies and points of a chart."""
    if search is None:
        return [*latencies], [*heights]
    shown = _on(devices, search)
    times = [*(one.p90_ms for one in shown), search.max_p90_ms]
    low, high = min(latencies) / WIDER, max(latencies) * WIDER
    room = max(max(heights) - min(heights), HIGHER)
    bottom, top = min(heights) - room, max(heights) + room
    maps = [100 * one.select_map for one in shown if one.select_map is not None]
    return (
        [*latencies, *(time for time in times if time and low <= time <= high)],
        [*heights, *(value for value in maps if bottom <= value <= top)],
    )


def draw_cloud(search: SearchResult, devices: Sequence[Device], x: Scale, y: Scale, frame: Rect) -> Cloud:
    """Place the candidates that were timed on the devices; those outside the frame are counted."""
    of_name = {device.name: device for device in devices}
    timed = [one for one in _on(devices, search) if one.p90_ms]
    placed = [_dot(one, of_name[one.device], x, y) for one in timed]
    dots = [dot for dot in placed if _inside(dot, frame)]
    epochs = sorted({one.epochs for one in timed if one.select_map is not None and one.epochs})
    return Cloud(
        dots=sorted(dots, key=lambda dot: dot.y is not None),
        outside=len(placed) - len(dots),
        epochs=" to ".join(dict.fromkeys(str(count) for count in (epochs[:1] + epochs[-1:]))),
        budget=_budget(search.max_p90_ms, x, frame),
    )


def _on(devices: Sequence[Device], search: SearchResult) -> list[Screened]:
    names = {device.name for device in devices}
    return [one for one in search.screen if one.device in names]


def _dot(one: Screened, device: Device, x: Scale, y: Scale) -> Dot:
    text = f"{one.candidate}: {figures.milliseconds(one.p90_ms)} ms"
    if one.select_map is None:
        return Dot(
            device, x(one.p90_ms or 0.0), None, f"{text}; not trained" + (f": {one.reason}" if one.reason else "")
        )
    trained = f", mAP {figures.points(one.select_map)} on select"
    trained += f" after {figures.plural(one.epochs, 'epoch')}" if one.epochs else ""
    return Dot(device, x(one.p90_ms or 0.0), y(100 * one.select_map), text + trained)


def _inside(dot: Dot, frame: Rect) -> bool:
    return frame.left <= dot.x <= frame.right and (dot.y is None or frame.top <= dot.y <= frame.bottom)


def _budget(limit: float | None, x: Scale, frame: Rect) -> tuple[float, str] | None:
    if not limit or not math.isfinite(limit) or not frame.left <= x(limit) <= frame.right:
        return None
    return x(limit), f"budget {figures.milliseconds(limit)} ms"
