"""Latency by part of one image, throughput, and latency under load for minutes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.device.output import Sustained as SustainedRun
from benchmarks.report import figures
from benchmarks.report.rows import Row

PARTS = ("decode", "resize", "infer", "post")
SUSTAINED = ("Seconds", "p50", "p90", "p99", "p90 at first", "p90 at last", "Clock, MHz", "Temperature, °C")


@dataclass(frozen=True)
class Stack:
    """Parts as (name, ms, percent of the longest stack)."""

    row: Row
    total: float
    parts: list[tuple[str, float, float]]


@dataclass(frozen=True)
class Throughput:
    """The best images a second of one engine, `share` in percent of the best of its device."""

    row: Row
    best: float
    share: float
    how: str
    tried: str


@dataclass(frozen=True)
class Sustained:
    row: Row
    cells: tuple[str, ...]


def stacks(rows: Sequence[Row]) -> list[Stack]:
    """One for each engine of a device whose parts were measured, the shortest first."""
    engines = [row for row in rows if row.engine and row.measured]
    timed = [(row, [(part, row.number(f"parts_ms.{part}")) for part in PARTS]) for row in engines]
    known = [(row, [(part, value) for part, value in parts if value is not None]) for row, parts in timed]
    totals = [(row, sum(value for _, value in parts), parts) for row, parts in known if parts]
    longest = max((total for _, total, _ in totals), default=0.0) or 1.0
    found = [Stack(row, total, [(part, ms, 100 * ms / longest) for part, ms in parts]) for row, total, parts in totals]
    return sorted(found, key=lambda stack: stack.total)


def throughputs(rows: Sequence[Row]) -> list[Throughput]:
    """Of one device, the most images a second first."""
    rates = [(row, row.throughput.images_per_second) for row in rows if row.measured and row.throughput]
    most = max((value for _, value in rates), default=0.0)
    return sorted((_throughput(row, value, 100 * value / most) for row, value in rates if value), key=lambda t: -t.best)


def _throughput(row: Row, best: float, share: float) -> Throughput:
    assert row.throughput is not None, "only rows with a throughput are shown"
    setting = f"batch {figures.count(row.throughput.batch)}, {figures.plural(row.throughput.streams, 'stream')}"
    trials = [
        f"batch {batch}, {streams} streams: {figures.count(rate)}" for batch, streams, rate in row.throughput.tried
    ]
    return Throughput(row, best, share, setting, "; ".join(trials))


def sustained(rows: Sequence[Row]) -> list[Sustained]:
    """Rows that were run for minutes on end."""
    return [Sustained(row, _cells(row.sustained)) for row in rows if row.sustained is not None]


def _cells(run: SustainedRun) -> tuple[str, ...]:
    times = (run.p50, run.p90, run.p99, run.first_p90, run.last_p90)
    return (
        figures.count(run.seconds),
        *map(figures.milliseconds, times),
        figures.between(run.clock_mhz.before, run.clock_mhz.after),
        figures.between(run.temperature_c.before, run.temperature_c.after),
    )
