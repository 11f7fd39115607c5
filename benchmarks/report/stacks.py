"""Where the time of one image goes: decode, resize, infer and post-process side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.report.devices import Device, of_device
from benchmarks.report.rows import Row

PARTS = ("decode", "resize", "infer", "post")


@dataclass(frozen=True)
class Stack:
    """Parts as (name, ms, percent of the longest stack)."""

    row: Row
    total: float
    parts: list[tuple[str, float, float]]


def stacks(rows: Sequence[Row], devices: Sequence[Device]) -> list[tuple[Device, list[Stack]]]:
    """By device one stack for each engine whose parts were measured, the shortest first."""
    found = [(device, _stacks(of_device(rows, device))) for device in devices]
    return [(device, stacked) for device, stacked in found if stacked]


def _stacks(rows: Sequence[Row]) -> list[Stack]:
    timed = [
        (row, [(part, row.number(f"parts_ms.{part}")) for part in PARTS]) for row in rows if row.engine and row.measured
    ]
    known = [(row, [(part, value) for part, value in parts if value is not None]) for row, parts in timed]
    totals = [(row, sum(value for _, value in parts), parts) for row, parts in known if parts]
    longest = max((total for _, total, _ in totals), default=0.0) or 1.0
    found = [
        Stack(row, total, [(part, value, 100 * value / longest) for part, value in parts])
        for row, total, parts in totals
    ]
    return sorted(found, key=lambda stack: stack.total)
