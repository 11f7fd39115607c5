"""One image of a table or a folder, as it is written there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One image: the line it stands on (from 1), its tags, and the labels of which nobody knows."""

    line: int
    file: str
    tags: tuple[str, ...]
    unknown: tuple[str, ...] = ()
    split: str | None = None
