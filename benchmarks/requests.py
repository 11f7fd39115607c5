"""What the fresh processes of a row are asked for, and what they printed."""

from __future__ import annotations

import logging
import statistics
from dataclasses import dataclass, field
from typing import Any

from benchmarks.config import Bench

log = logging.getLogger(__name__)

ALONE = ("throughput", "sustained")  # what an engine is asked once, in a process of its own, after the queries
AGAIN = "throughput."  # and a number: the best setting of that search once more


@dataclass
class Timed:
    """What the processes of a row printed, or the error of the first that failed."""

    processes: list[dict[str, Any]] = field(default_factory=list)
    alone: dict[str, Any] = field(default_factory=lambda: dict.fromkeys(ALONE))
    again: list[float] = field(default_factory=list)
    error: str | None = None

    def can(self, process: int | str) -> bool:
        """Whether there is something to measure: a setting that a search has found, if it is to be measured again."""
        searched = self.alone["throughput"] is not None or not str(process).startswith(AGAIN)
        return self.error is None and searched

    def add(self, process: int | str, told: dict[str, Any]) -> None:
        if isinstance(process, int):
            self.processes.append(told)
        elif process.startswith(AGAIN):
            self.again.append(told["throughput"]["images_per_second"])
        else:
            self.alone[process] = told[process]

    def asked_alone(self) -> dict[str, Any]:
        """What the row says of it; the rate is that of the fresh processes, as that of the search is too high."""
        found = self.alone["throughput"]
        rated = found and self.again and {**found, "images_per_second": statistics.median(self.again)}
        return {**self.alone, "throughput": rated or None}

    def failed(self, process: int | str, cause: Exception) -> None:
        """Without its queries a row has nothing; what it is asked alone it can lack."""
        if isinstance(process, str):
            log.warning("%s: expected an answer, got %s; the row goes without", process, cause)
        else:
            self.error = str(cause)


def alone(bench: Bench) -> list[str]:
    """The processes of an engine behind its queries, in order."""
    again = [f"{AGAIN}{number}" for number in range(bench.processes)]
    return [*(["throughput", *again] if bench.throughput else []), *(["sustained"] if bench.sustained_s else [])]


def asked(bench: Bench, process: int | str, found: Timed) -> list[str]:
    """What a process measures."""
    if isinstance(process, int):
        return ["--queries", str(bench.queries), "--least-s", str(bench.least_s)]
    if process.startswith(AGAIN):
        setting = [str(found.alone["throughput"][key]) for key in ("batch", "streams")]
        return ["--queries", "1", "--throughput-at", *setting]
    return [
        "--queries",
        "1",
        *(["--throughput"] if process == "throughput" else ["--sustained-s", str(bench.sustained_s)]),
    ]
