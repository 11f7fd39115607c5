"""The devices of a bench, the local one first: what they are, or why nothing was measured there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from benchmarks import schema
from benchmarks.report.rows import ReportRow

Drawn = TypeVar("Drawn")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, kw_only=True)
class Device(schema.DeviceFacts):
    """`at` is the place in the bench, which names the device in the page whatever its name holds."""

    at: int

    @property
    def letter(self) -> str:
        """A short name for the chart."""
        return LETTERS[self.at] if self.at < len(LETTERS) else str(self.at)

    @property
    def measured(self) -> bool:
        """Whether anything was measured on it."""
        return self.status == "measured"

    @property
    def comparable(self) -> str:
        """What its times can be compared with; empty where nothing limits that."""
        limit = str(self.machine.get("comparable") or "")
        return limit if limit.startswith("relative") else "relative only" if self.machine.get("virtual") else ""

    @property
    def cpu(self) -> str:
        """The model of its processor, after the browser if there is one."""
        return ", ".join(str(self.machine[name]) for name in ("browser", "cpu") if self.machine.get(name))


def read_devices(devices: Sequence[schema.DeviceFacts]) -> list[Device]:
    """Return the devices, each with its place."""
    return [Device(at=at, **vars(device)) for at, device in enumerate(devices)]


def of_device(rows: Sequence[ReportRow], device: Device) -> list[ReportRow]:
    """Return the rows of a device."""
    return [row for row in rows if row.device == device.name]


def by_device(
    rows: Sequence[ReportRow], devices: Sequence[Device], draw: Callable[[Sequence[ReportRow]], list[Drawn]]
) -> list[tuple[Device, list[Drawn]]]:
    """Draw the rows of each device; devices with nothing to draw are left out."""
    return [(device, drawn) for device in devices if (drawn := draw(of_device(rows, device)))]
