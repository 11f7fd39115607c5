"""Where the time of one device's engines goes: parts of one image, histograms of latency, throughput."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.device.protocol import PARTS
from benchmarks.report import figures
from benchmarks.report.rows import ReportRow
from benchmarks.report.scale import Scale

WIDTH, HEIGHT, FOOT = 220, 86, 18  # of a histogram, in pixels


@dataclass(frozen=True)
class Stack:
    """Parts as (name, ms, percent of the longest stack)."""

    row: ReportRow
    total: float
    parts: list[tuple[str, float, float]]


@dataclass(frozen=True)
class Histogram:
    """`bars` are (x, y, width, height), `lines` the percentiles (x, name), in pixels."""

    row: ReportRow
    bars: list[tuple[float, float, float, float]]
    lines: list[tuple[float, str]]
    ticks: list[tuple[float, str]]

    @property
    def caption(self) -> str:
        pairs = ((name, self.row.number(f"end_to_end_ms.{name}")) for name in ("p50", "p90", "p99"))
        return ", ".join(f"{name} {figures.milliseconds(value)}" for name, value in pairs) + " ms"


def stacks(rows: Sequence[ReportRow]) -> list[Stack]:
    """One for each engine whose parts were measured, the shortest first."""
    engines = [row for row in rows if row.engine and row.measured]
    timed = [(row, [(part, row.number(f"parts_ms.{part}")) for part in PARTS]) for row in engines]
    known = [(row, [(part, value) for part, value in parts if value is not None]) for row, parts in timed]
    totals = [(row, sum(value for _, value in parts), parts) for row, parts in known if parts]
    longest = max((total for _, total, _ in totals), default=0.0) or 1.0
    found = [Stack(row, total, [(part, ms, 100 * ms / longest) for part, ms in parts]) for row, total, parts in totals]
    return sorted(found, key=lambda stack: stack.total)


def throughputs(rows: Sequence[ReportRow]) -> list[tuple[ReportRow, float]]:
    """Each row with its share of the highest rate in percent, the most images a second first."""
    rates = [(row, row.throughput.images_per_second) for row in rows if row.measured and row.throughput]
    most = max((rate for _, rate in rates), default=0.0)
    return [(row, 100 * rate / most) for row, rate in sorted(rates, key=lambda pair: -pair[1]) if rate]


def histograms(rows: Sequence[ReportRow]) -> list[Histogram]:
    """One for each engine of the bundle that has one, all on the same axis."""
    known = [(row, *_binned(row)) for row in rows if row.in_bundle and row.measured]
    known = [(row, edges, counts) for row, edges, counts in known if counts and max(counts) > 0 and edges[0] > 0]
    if not known:
        return []
    low, high = min(edges[0] for _, edges, _ in known), max(edges[-1] for _, edges, _ in known)
    x = Scale(low / 1.02, high * 1.02, 0, WIDTH, log=True)
    return [Histogram(row, _bars(edges, counts, x), _percentiles(row, x), x.ticks(4)) for row, edges, counts in known]


def _binned(row: ReportRow) -> tuple[list[float], list[float]]:
    """Edges (K+1) and counts (K); empty where they do not belong together."""
    drawn = row.histogram
    return (drawn.edges_ms, list(drawn.counts)) if drawn and len(drawn.edges_ms) == len(drawn.counts) + 1 else ([], [])


def _bars(edges: Sequence[float], counts: Sequence[float], x: Scale) -> list[tuple[float, float, float, float]]:
    room, most = HEIGHT - FOOT - 2, max(counts)
    tall = [round(room * count / most, 1) for count in counts]
    spans = [(x(low), max(round(x(high) - x(low), 1), 0.6)) for low, high in itertools.pairwise(edges)]
    return [
        (left, round(room + 2 - height, 1), wide, height)
        for (left, wide), height in zip(spans, tall, strict=True)
        if height
    ]


def _percentiles(row: ReportRow, x: Scale) -> list[tuple[float, str]]:
    pairs = [(name, row.number(f"end_to_end_ms.{name}")) for name in ("p50", "p90")]
    return [(x(value), name) for name, value in pairs if value and x.low <= value <= x.high]
