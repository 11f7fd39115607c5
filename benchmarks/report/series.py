"""What is measured apart from latency: throughput, and how a device holds out over minutes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.device.output import Sustained as SustainedRun
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
    by_device = [(device, _throughputs(of_device(rows, device))) for device in devices]
    return [(device, shown) for device, shown in by_device if shown]


def _throughputs(rows: Sequence[Row]) -> list[Throughput]:
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
