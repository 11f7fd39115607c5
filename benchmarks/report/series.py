"""Latency by part of one image, throughput, and latency under load for minutes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    known = [(row, row.number("throughput.images_per_second")) for row in rows if row.measured]
    found = [(row, value) for row, value in known if value]
    most = max((value for _, value in found), default=0.0)
    return sorted((_throughput(row, value, 100 * value / most) for row, value in found), key=lambda one: -one.best)


def _throughput(row: Row, best: float, share: float) -> Throughput:
    tried = (row.facts.get("throughput") or {}).get("tried") or ()
    batch, streams = (row.number(f"throughput.{key}") for key in ("batch", "streams"))
    words = [f"batch {one[0]}, {one[1]} streams: {figures.count(one[2])}" for one in tried if len(one) == 3]
    return Throughput(
        row, best, share, f"batch {figures.count(batch)}, {figures.plural(streams, 'stream')}", "; ".join(words)
    )


def sustained(rows: Sequence[Row]) -> list[Sustained]:
    """Rows that were run for minutes on end."""
    return [Sustained(row, _held(row)) for row in rows if row.facts.get("sustained")]


def _held(row: Row) -> tuple[str, ...]:
    times = ("p50", "p90", "p99", "first_p90", "last_p90")
    return (
        figures.count(row.number("sustained.seconds")),
        *(figures.milliseconds(row.number(f"sustained.{key}")) for key in times),
        figures.between(row.number("sustained.clock_mhz.before"), row.number("sustained.clock_mhz.after")),
        figures.between(row.number("sustained.temperature_c.before"), row.number("sustained.temperature_c.after")),
    )
