"""The devices of a bench, the local one first: what they are, or why nothing was measured there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from benchmarks.report.rows import Facts, Row

Drawn = TypeVar("Drawn")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Device:
    """`at` is the place in the bench, which names the device in the page whatever its name holds."""

    at: int
    name: str
    status: str
    reason: str
    machine: Facts
    threads: float | None
    power_mode: str

    @property
    def letter(self) -> str:
        return LETTERS[self.at] if self.at < len(LETTERS) else str(self.at)

    @property
    def measured(self) -> bool:
        return self.status == "measured"

    @property
    def comparable(self) -> str:
        """What its times can be compared with; empty where nothing limits that."""
        told = str(self.machine.get("comparable") or "")
        return told if told.startswith("relative") else "relative only" if self.machine.get("virtual") else ""

    @property
    def cpu(self) -> str:
        return str(self.machine.get("cpu") or "")


def read_devices(bench: Facts) -> list[Device]:
    return [
        Device(
            at=at,
            name=str(facts.get("name")),
            status=str(facts.get("status")),
            reason=str(facts.get("reason") or ""),
            machine=facts.get("machine") or {},
            threads=facts.get("threads"),
            power_mode=str(facts.get("power_mode") or ""),
        )
        for at, facts in enumerate(bench.get("devices") or ())
    ]


def of_device(rows: Sequence[Row], device: Device) -> list[Row]:
    return [row for row in rows if row.device == device.name]


def by_device(
    rows: Sequence[Row], devices: Sequence[Device], draw: Callable[[Sequence[Row]], list[Drawn]]
) -> list[tuple[Device, list[Drawn]]]:
    """Draw the rows of each device; devices with nothing to draw are left out."""
    return [(device, drawn) for device in devices if (drawn := draw(of_device(rows, device)))]
