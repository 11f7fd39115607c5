"""How long work tells the outside how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Progress(Protocol):
    """Called with what is done, how much of how much, and figures worth showing (loss terms, images/s)."""

    def __call__(self, what: str, done: int, total: int, facts: Mapping[str, float] | None = None, /) -> None: ...


def silent(what: str, done: int, total: int, facts: Mapping[str, float] | None = None, /) -> None:
    """Shows nothing."""
