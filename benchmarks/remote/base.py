"""The devices to measure on: what all have in common, and this machine."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from benchmarks.config import DeviceEntry as DeviceEntry
from benchmarks.device.tagger_process import Program
from export.bundle.bundle import PROGRAM, read_bundle
from mlkd.core.files import write_file


class DeviceError(ValueError):
    """A device cannot be used any more; the message is one line: device, what, expected, got, next step."""


class NoRoomError(DeviceError):
    """The files that are sent do not fit on the device."""


class UnfitError(DeviceError):
    """The device answers, but lacks what a bundle needs."""


class Run(Protocol):
    """A bundle's tagger.pyz on a device."""

    def __call__(self, *arguments: str, timeout_s: float | None = None) -> Any:
        """Run a command and return the JSON object that it prints; killed after `timeout_s`, else the device's.

        Raises:
            ProcessFailedError: it prints none.
            DeviceError: the device cannot be used any more.
        """


class Device(Protocol):
    """A machine that a bundle is measured on; every method but `close` raises DeviceError."""

    @property
    def entry(self) -> DeviceEntry:
        """Its entry in devices.yaml."""

    def place(self, bundle: Path) -> Run:
        """Copy a bundle to the device and check every hash there; the value runs its program."""

    def program(self, path: str) -> Run:
        """Run a program that is on the device already; a path may begin with `~`, then arguments may too."""

    def copy_file(self, file: Path) -> str:
        """Copy one file to the device; the value is its path there."""

    def copy_images(self, files: Sequence[Path]) -> str:
        """Copy images to the device; the value is what to give to `--images`."""

    def scratch(self) -> str:
        """A folder on the device for results, removed by `close`."""

    def fetch(self, file: str, to: Path) -> None:
        """Copy a file of the device to `to` on this machine, complete or not at all."""

    def close(self) -> None:
        """Clean up; may be called from another thread to end a command."""


@dataclass(frozen=True)
class Local:
    """This machine."""

    entry: DeviceEntry
    _folder: tempfile.TemporaryDirectory[str] = field(default_factory=tempfile.TemporaryDirectory, repr=False)

    def place(self, bundle: Path) -> Run:
        """Verify the bundle and run it where it lies."""
        read_bundle(bundle)
        return self.program(str(bundle.resolve() / PROGRAM))

    def program(self, path: str) -> Run:
        """Run a program of this machine."""
        python = sys.executable if self.entry.python == "python3" else str(Path(self.entry.python).expanduser())
        command = [python, str(Path(path).expanduser())]

        def run(*arguments: str, timeout_s: float | None = None) -> Any:
            return Program(command, timeout_s or self.entry.timeout_s)(*arguments)

        return run

    def copy_file(self, file: Path) -> str:
        """The file itself."""
        return str(file.resolve())

    def copy_images(self, files: Sequence[Path]) -> str:
        """Write a list of their paths."""
        listed = Path(self._folder.name, "images.txt")
        listed.write_text("".join(f"{file.resolve()}\n" for file in files), encoding="utf-8")
        return str(listed)

    def scratch(self) -> str:
        """A temporary folder."""
        return self._folder.name

    def fetch(self, file: str, to: Path) -> None:
        """Copy a file."""
        try:
            write_file(to, Path(file).read_bytes())
        except OSError as cause:
            raise DeviceError(
                f"{self.entry.name}: expected a result to copy, got {cause}; see the error above"
            ) from None

    def close(self) -> None:
        """Remove the temporary folder."""
        self._folder.cleanup()
