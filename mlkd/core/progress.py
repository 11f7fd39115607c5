"""Progress reports of long computations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Progress(Protocol):
    """Called with a name, the finished and the total number of items, and values to show (loss terms, images/s)."""

    def __call__(self, what: str, done: int, total: int, facts: Mapping[str, float] | None = None, /) -> None: ...


def silent(what: str, done: int, total: int, facts: Mapping[str, float] | None = None, /) -> None:
    """Show nothing."""
