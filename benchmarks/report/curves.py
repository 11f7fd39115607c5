"""Training curves: mAP on the select split after each epoch, one line a net."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.report.figures import points
from benchmarks.report.placement import Rect
from benchmarks.report.scale import Scale, padded

NETS = ("teacher", "student", "baseline")


@dataclass(frozen=True)
class Line:
    net: str
    path: str
    dots: list[tuple[float, float, str]]
    text_y: float
    text: str


@dataclass(frozen=True)
class Curves:
    width: int
    height: int
    frame: Rect
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    lines: list[Line]


def curves(training: Mapping[str, Sequence[Any]], width: int, height: int) -> Curves | None:
    """None when no epoch has a mAP."""
    runs = {net: _points(training.get(net) or ()) for net in NETS}
    runs = {net: run for net, run in runs.items() if run}
    if not runs:
        return None
    frame = Rect(40, 24, width - 124, height - 40)
    epochs = [epoch for run in runs.values() for epoch, _ in run]
    low, high = padded([value for run in runs.values() for _, value in run], share=0.08, least=1.0)
    x = Scale(min(epochs), max(max(epochs), min(epochs) + 1), frame.left + 8, frame.right)
    y = Scale(low, high, frame.bottom, frame.top)
    ends = _apart([y(run[-1][1]) for run in runs.values()], 17)
    return Curves(
        width=width,
        height=height,
        frame=frame,
        x_ticks=[(at, text) for at, text in x.ticks(6) if "." not in text],
        y_ticks=y.ticks(5),
        lines=[_line(net, run, x, y, end) for (net, run), end in zip(runs.items(), ends, strict=True)],
    )


def _points(epochs: Sequence[Any]) -> list[tuple[float, float]]:
    """(epoch, mAP times 100); the place in the list where the epoch has no number."""
    numbered = [(epoch.get("epoch", at + 1), epoch.get("select_map")) for at, epoch in enumerate(epochs)]
    return [(float(epoch), 100 * float(value)) for epoch, value in numbered if value is not None]


def _line(net: str, run: Sequence[tuple[float, float]], x: Scale, y: Scale, end: float) -> Line:
    spots = [(x(epoch), y(value)) for epoch, value in run]
    return Line(
        net=net,
        path="M" + "L".join(f"{across} {down}" for across, down in spots),
        dots=[(*spot, f"{net}, epoch {epoch:g}: {value:.1f}") for spot, (epoch, value) in zip(spots, run, strict=True)],
        text_y=end,
        text=f"{net} {points(run[-1][1] / 100)}",
    )


def _apart(heights: Sequence[float], least: float) -> list[float]:
    """The same heights, pushed down where two are closer than `least`."""
    placed: dict[int, float] = {}
    for i in sorted(range(len(heights)), key=lambda i: heights[i]):
        above = max(placed.values(), default=-1e9)
        placed[i] = max(heights[i], above + least)
    return [placed[i] for i in range(len(heights))]
