"""The device list, devices.yaml: the machines to measure on and to deploy to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.config import DeviceEntry
from pipeline.recipe.reader import build
from pipeline.recipe.yaml_file import read_yaml

HERE = DeviceEntry(name="this machine")


@dataclass(frozen=True, kw_only=True)
class DeviceList:
    """The entries of devices.yaml; at most one of kind `tagger` has no host and stands for this machine."""

    devices: tuple[DeviceEntry, ...]

    def __post_init__(self) -> None:
        names = [entry.name for entry in self.devices]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"devices: expected at least one and distinct names, got {names}")
        if sum(entry.is_here for entry in self.devices) > 1:
            raise ValueError("devices: expected one entry without a host at most, got more; add their hosts")
        if any(entry.name == HERE.name for entry in self.others):
            raise ValueError(f"devices: expected another name for one that is not this machine, got {HERE.name!r}")

    @property
    def here(self) -> DeviceEntry:
        """This machine."""
        return next((entry for entry in self.devices if entry.is_here), HERE)

    @property
    def others(self) -> tuple[DeviceEntry, ...]:
        """Browsers of this machine, and entries that are reached over ssh."""
        return tuple(entry for entry in self.devices if not entry.is_here)


def read_device_list(file: Path) -> DeviceList:
    """Read devices.yaml; raises ValueError with every fault."""
    if not file.is_file():
        raise ValueError(f"devices: expected a YAML file, got nothing at {file.absolute()}; check DEVICES")
    return build(DeviceList, read_yaml(file), file, "list of devices")
