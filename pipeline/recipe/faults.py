"""The faults of a configuration file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """A fault in a file, with the path of its key."""

    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}" if self.path else self.text


class ConfigError(ValueError):
    """A file is not valid; the message lists every fault."""

    def __init__(self, file: object, faults: list[Fault], what: str = "recipe") -> None:
        self.faults = faults
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__("\n".join([f"{file}: expected a valid {what}, got {count}:", *(f"  {f}" for f in faults)]))
