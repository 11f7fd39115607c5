"""A browser of this machine as a device: the bundle's models in the page that is published with it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.browser import program
from benchmarks.browser.page_files import INDEX, page_files
from benchmarks.browser.protocol import Page
from benchmarks.browser.site import Site
from benchmarks.device.tagger_process import ProcessFailedError
from benchmarks.remote.base import DeviceError, Local, Run
from export.bundle.bundle import read_bundle
from export.bundle.golden import Golden
from export.web.chromium import BrowserError, Chromium, find_program
from export.web.packages import PackageError
from export.web.server import Source, serve

INSTALL = "install Chromium (make system), or name another as executable in devices.yaml"


@dataclass(frozen=True)
class Browser(Local):
    """A browser; every command has fresh processes with fresh profiles, and the files of this machine."""

    _running: list[Chromium] = field(default_factory=list, repr=False)
    _closed: threading.Event = field(default_factory=threading.Event, repr=False)

    def place(self, bundle: Path) -> Run:
        """Verify the bundle; the page loads it where it lies."""
        executable = self.entry.executable
        path = find_program(executable)
        if path is None:
            expected = f"executable: expected {executable or 'Chromium or Google Chrome'} on this machine"
            raise DeviceError(f"{self.entry.name}: {expected}, got none; {INSTALL}")
        manifest = read_bundle(bundle)
        try:
            site = Site(bundle, manifest, Golden.read(bundle, manifest), page_files())
        except PackageError as cause:
            raise DeviceError(f"{self.entry.name}: {cause}") from None

        def run(*words: str, timeout_s: float | None = None) -> Any:
            try:
                return program.answer(site, partial(self._open, path, timeout_s or self.entry.timeout_s), words)
            except BrowserError as cause:
                raise ProcessFailedError(str(cause)) from None

        return run

    def program(self, path: str) -> Run:
        """Nothing is installed in a browser."""
        raise DeviceError(f"{self.entry.name}: expected a device with files of its own for {path}, got a browser")

    def close(self) -> None:
        """End what runs, and remove the temporary folder."""
        self._closed.set()
        for browser in list(self._running):
            browser.kill()
        super().close()

    @contextlib.contextmanager
    def _open(self, path: str, limit_s: float, files: Mapping[str, Source]) -> Iterator[Page]:
        with serve(files) as address, Chromium(path, limit_s=limit_s) as browser:
            self._running.append(browser)
            try:
                if self._closed.is_set():
                    raise DeviceError(f"{self.entry.name}: expected a device in use, got a closed one; run bench again")
                yield Page(browser.open(address + INDEX))
            finally:
                self._running.remove(browser)
