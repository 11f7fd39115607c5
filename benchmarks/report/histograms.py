"""Histograms of end-to-end latency, one small drawing an engine, all of one device on the same axis."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.report import figures
from benchmarks.report.rows import Row
from benchmarks.report.scale import Scale

WIDTH, HEIGHT, FOOT = 220, 86, 18


@dataclass(frozen=True)
class Histogram:
    """`bars` are (x, y, width, height), `lines` the percentiles (x, name), in pixels."""

    row: Row
    bars: list[tuple[float, float, float, float]]
    lines: list[tuple[float, str]]
    ticks: list[tuple[float, str]]

    @property
    def told(self) -> str:
        pairs = ((name, self.row.number(f"end_to_end_ms.{name}")) for name in ("p50", "p90", "p99"))
        return ", ".join(f"{name} {figures.milliseconds(value)}" for name, value in pairs) + " ms"


def histograms(rows: Sequence[Row]) -> list[Histogram]:
    """Of the engines of one device."""
    known = [(row, *_binned(row)) for row in rows if row.engine and row.measured]
    known = [(row, edges, counts) for row, edges, counts in known if counts and max(counts) > 0 and edges[0] > 0]
    if not known:
        return []
    low, high = min(edges[0] for _, edges, _ in known), max(edges[-1] for _, edges, _ in known)
    x = Scale(low / 1.02, high * 1.02, 0, WIDTH, log=True)
    return [Histogram(row, _bars(edges, counts, x), _percentiles(row, x), x.ticks(4)) for row, edges, counts in known]


def _binned(row: Row) -> tuple[list[float], list[float]]:
    """Edges (K+1) and counts (K); empty where they do not belong together."""
    facts = row.facts.get("histogram") or {}
    edges, counts = list(facts.get("edges_ms") or ()), list(facts.get("counts") or ())
    return (edges, counts) if len(edges) == len(counts) + 1 else ([], [])


def _bars(edges: Sequence[float], counts: Sequence[float], x: Scale) -> list[tuple[float, float, float, float]]:
    room, most = HEIGHT - FOOT - 2, max(counts)
    tall = [round(room * count / most, 1) for count in counts]
    spans = [(x(low), max(round(x(high) - x(low), 1), 0.6)) for low, high in itertools.pairwise(edges)]
    return [
        (left, round(room + 2 - height, 1), wide, height)
        for (left, wide), height in zip(spans, tall, strict=True)
        if height
    ]


def _percentiles(row: Row, x: Scale) -> list[tuple[float, str]]:
    pairs = [(name, row.number(f"end_to_end_ms.{name}")) for name in ("p50", "p90")]
    return [(x(value), name) for name, value in pairs if value and x.low <= value <= x.high]
