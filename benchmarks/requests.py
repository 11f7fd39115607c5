"""What the fresh processes of a row are asked for, and what they measured."""

from __future__ import annotations

import dataclasses
import logging
import statistics
from dataclasses import dataclass, field

from benchmarks.config import Bench
from benchmarks.device.output import Process, Sustained, Throughput
from benchmarks.schema import Row

log = logging.getLogger(__name__)

THROUGHPUT, SUSTAINED = "throughput", "sustained"  # each measured in a process of its own, after the queries
AGAIN = "throughput."  # and a number: the best setting of the search measured again


@dataclass
class Timed:
    """What the processes of a row measured, or the error of the first that failed."""

    processes: list[Process] = field(default_factory=list)
    searched: Throughput | None = None
    rates: list[float] = field(default_factory=list)  # images a second of the searched setting in fresh processes
    sustained: Sustained | None = None
    error: str | None = None

    def is_useful(self, process: int | str) -> bool:
        """Whether a process has anything to measure: it needs the setting of a search to measure that again."""
        return self.error is None and (self.searched is not None or not str(process).startswith(AGAIN))

    def add(self, process: int | str, measured: Process) -> None:
        """Keep what a process measured."""
        if isinstance(process, int):
            self.processes.append(measured)
        elif process == SUSTAINED:
            self.sustained = measured.sustained
        elif process == THROUGHPUT:
            self.searched = measured.throughput
        elif measured.throughput is not None:
            self.rates.append(measured.throughput.images_per_second)

    def fail(self, process: int | str, cause: Exception) -> None:
        """Record an error: a row needs its queries, but not throughput and sustained latency."""
        if isinstance(process, str):
            log.warning("%s: expected an answer, got %s; the row has none", process, cause)
        else:
            self.error = str(cause)

    def complete(self, row: Row) -> Row:
        """Add throughput and sustained latency; the search's own rate is the highest of many and so too high."""
        rate = None
        if self.searched is not None and self.rates:
            rate = dataclasses.replace(self.searched, images_per_second=statistics.median(self.rates))
        return dataclasses.replace(row, throughput=rate, sustained=self.sustained)


def processes_after_queries(bench: Bench) -> list[str]:
    """Return the processes of an engine after its queries, in order."""
    again = [f"{AGAIN}{number}" for number in range(bench.processes)]
    return [*([THROUGHPUT, *again] if bench.throughput else []), *([SUSTAINED] if bench.sustained_s else [])]


def options_of(bench: Bench, process: int | str, timed: Timed) -> list[str]:
    """Return the options of `tagger.pyz bench` that say what a process measures."""
    if isinstance(process, int):
        return ["--queries", str(bench.queries), "--least-s", str(bench.least_s)]
    if process == THROUGHPUT:
        return ["--queries", "1", "--throughput"]
    if process == SUSTAINED:
        return ["--queries", "1", "--sustained-s", str(bench.sustained_s)]
    assert timed.searched is not None, "a setting is measured again after its search"
    return ["--queries", "1", "--throughput-at", str(timed.searched.batch), str(timed.searched.streams)]
