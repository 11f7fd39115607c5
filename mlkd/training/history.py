"""The record of the epochs of a run: the running means of the current one, and history.json with all of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlkd.core.files import write_file

FILE = "history.json"


@dataclass
class EpochTotals:
    """Sums over the steps of the current epoch; part of the state from which an interrupted run resumes."""

    steps: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, terms: Mapping[str, float]) -> None:
        """Add the loss terms of one step."""
        self.steps += 1
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def means(self) -> dict[str, float]:
        """Loss terms averaged over the steps so far."""
        return {name: value / self.steps for name, value in self.sums.items()}


def write_epoch(folder: Path, epoch: int, facts: Mapping[str, Any]) -> None:
    """Write epoch number `epoch` (from 1) to the history file, and drop later entries."""
    path = folder / FILE
    entries: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    entries = [*entries[: epoch - 1], {"epoch": epoch, **facts}]
    write_file(path, json.dumps(entries, indent=1) + "\n")
