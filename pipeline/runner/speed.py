"""How much a stage does, and how fast this machine does it: measured whenever a stage has run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.runner.result import read_json, write_json

FILE = "speed.json"  # beside the folders of the recipes: seconds a unit by stage and kind of work


@dataclass(frozen=True, kw_only=True)
class Work:
    """The work of a stage in units that take equally long, and the disk space that it needs."""

    units: float = 1.0
    kind: str = ""  # what else decides the time of a unit, as the name of a model
    unit_s: float | None = None  # seconds a unit, until this machine has measured it
    bytes: int | None = None  # of the result, until there is one
    work_bytes: int = 0  # of files that are kept outside the result

    def seconds(self, stage: str, speeds: Mapping[str, float]) -> float | None:
        """Return how long the work takes at the measured speed, else at `unit_s`; None if neither is known."""
        unit_s = speeds.get(self._key(stage), self.unit_s)
        return None if unit_s is None else self.units * unit_s

    def record(self, stage: str, seconds: float, folder: Path) -> None:
        """Store the speed of a run that took so many seconds."""
        write_json(folder / FILE, {**read_speeds(folder), self._key(stage): seconds / self.units}, sort_keys=True)

    def _key(self, stage: str) -> str:
        return f"{stage} {self.kind}".strip()


@dataclass(frozen=True)
class Expected:
    """How long a stage that begins is expected to take, and all stages that run after it."""

    stage: str
    seconds: float | None = None
    later_s: float = 0.0


def read_speeds(folder: Path) -> dict[str, float]:
    """Read the seconds a unit that this machine has measured; empty if there are none."""
    try:
        return {str(key): float(value) for key, value in read_json(folder / FILE).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
