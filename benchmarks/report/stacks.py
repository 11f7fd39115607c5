"""Where the time of one picture goes: decode, resize, infer and post-process side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.report.rows import Row

PARTS = ("decode", "resize", "infer", "post")


@dataclass(frozen=True)
class Stack:
    """Parts as (name, ms, percent of the longest stack)."""

    name: str
    total: float
    parts: list[tuple[str, float, float]]


def stacks(rows: Sequence[Row]) -> list[Stack]:
    """One stack for each engine whose parts were measured, the shortest first."""
    timed = [
        (row.name, [(part, row.number(f"parts_ms.{part}")) for part in PARTS])
        for row in rows
        if row.engine and row.measured
    ]
    known = [(name, [(part, value) for part, value in parts if value is not None]) for name, parts in timed]
    totals = [(name, sum(value for _, value in parts), parts) for name, parts in known if parts]
    longest = max((total for _, total, _ in totals), default=0.0) or 1.0
    found = [
        Stack(name, total, [(part, value, 100 * value / longest) for part, value in parts])
        for name, total, parts in totals
    ]
    return sorted(found, key=lambda stack: stack.total)
