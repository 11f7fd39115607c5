"""What a run tells of its epochs: the running means of one, and the file of all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlkd.core.files import write_file

FILE = "history.json"


@dataclass
class Epoch:
    """Sums over the steps of the epoch that is going on; part of what a killed run goes on from."""

    steps: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, terms: Mapping[str, float]) -> None:
        """One step's loss terms."""
        self.steps += 1
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def means(self) -> dict[str, float]:
        """Loss terms averaged over the steps so far."""
        return {name: value / self.steps for name, value in self.sums.items()}


def record(folder: Path, epoch: int, facts: Mapping[str, Any]) -> None:
    """Write epoch number `epoch` (from 1) to the history file; later entries, of a run that was taken back, go."""
    path = folder / FILE
    entries: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    entries = [*entries[: epoch - 1], {"epoch": epoch, **facts}]
    write_file(path, (json.dumps(entries, indent=1) + "\n").encode())
