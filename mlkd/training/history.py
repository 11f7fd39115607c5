"""The record of the epochs of a run: the running means of the current one, and history.json with all of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlkd.core.files import write_file
from mlkd.core.json_text import parse_json

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
    entries = [*_read(folder)[: epoch - 1], {"epoch": epoch, **facts}]
    write_file(folder / FILE, json.dumps(entries, indent=1) + "\n")


def digests(folder: Path) -> list[str]:
    """A hash of each entry of the history file, but of its time, which another run does not repeat."""
    entries = [{name: entry[name] for name in entry if name != "seconds"} for entry in _read(folder)]
    texts = [json.dumps(entry, sort_keys=True) for entry in entries]
    return [hashlib.sha256(text.encode()).hexdigest() for text in texts]


def check(folder: Path, expected: Sequence[str] | None) -> None:
    """Raise ValueError if the history file does not begin with the entries of these hashes; None allows any."""
    if expected is not None and digests(folder)[: len(expected)] != list(expected):
        raise ValueError(f"{folder / FILE}: expected the epochs that were written, got others")


def _read(folder: Path) -> list[dict[str, Any]]:
    path = folder / FILE
    if not path.is_file():
        return []
    try:
        entries: list[dict[str, Any]] = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ValueError("other values")
    except ValueError as cause:
        raise ValueError(f"{path}: expected a JSON list of epochs, got {cause}; delete it") from cause
    return entries
