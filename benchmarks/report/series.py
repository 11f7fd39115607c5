"""What is measured apart from latency: throughput, and how a device holds out over minutes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.report import figures
from benchmarks.report.devices import Device, of_device
from benchmarks.report.rows import Row


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


SUSTAINED = ("Seconds", "p50", "p90", "p99", "p90 at first", "p90 at last", "Clock, MHz", "Temperature, °C")


def throughputs(rows: Sequence[Row], devices: Sequence[Device]) -> list[tuple[Device, list[Throughput]]]:
    """By device, the most images a second first."""
    found = [(device, _throughputs(of_device(rows, device))) for device in devices]
    return [(device, told) for device, told in found if told]


def _throughputs(rows: Sequence[Row]) -> list[Throughput]:
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
