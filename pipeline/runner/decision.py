"""What is decided about a stage before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.runner.result import Result


@dataclass(frozen=True)
class Decision:
    """Whether a stage runs, why, for how long and with how much disk space; None where nothing is known."""

    stage: str
    runs: bool
    why: str
    seconds: float | None
    bytes: int | None
    reused: Path | None = None  # folder of another recipe whose result is taken instead of running the stage
    result: Result | None = None  # that holds or is reused
