"""Runs a page in headless Chromium, served from a folder, and returns what the page reports."""

from __future__ import annotations

import functools
import http.server
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    *("--headless", "--disable-gpu", "--no-first-run", "--disable-sync", "--disable-extensions"),
    *("--disable-background-networking", "--disable-component-update"),
)
REPORT = "/report"  # where the page posts its result
MOST_BYTES = 1 << 26
POLL_S = 0.5


class BrowserError(RuntimeError):
    """The browser ended, or the page reported nothing in time."""


def find_chromium() -> str | None:
    """The program of an installed Chromium or Chrome."""
    return next((program for name in NAMES if (program := shutil.which(name))), None)


@contextmanager
def serve(
    folder: Path, reports: queue.Queue[Any] | None = None, paths: queue.Queue[str] | None = None
) -> Iterator[str]:
    """Serve a folder on this machine only; yields its address.

    JSON that is posted to /report goes to `reports`, the path of every request to `paths`.
    """
    handler = functools.partial(_Handler, directory=str(folder), reports=reports, paths=paths)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def run_page(program: str, folder: Path, page: str, timeout_s: float) -> Any:
    """Open a page of `folder` and return the JSON that it posts to /report.

    Raises BrowserError if the browser ends before that, or after `timeout_s`.
    """
    reports: queue.Queue[Any] = queue.Queue()
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium has none for root
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, serve(folder, reports) as address:
        command = [program, *FLAGS, *sandbox, f"--user-data-dir={profile}", address + page]
        quiet: Any = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        with subprocess.Popen(command, **quiet) as process:
            try:
                return _wait(process, reports, timeout_s, program)
            finally:
                process.terminate()


def _wait(process: subprocess.Popen[bytes], reports: queue.Queue[Any], timeout_s: float, program: str) -> Any:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            return reports.get(timeout=POLL_S)
        except queue.Empty:
            if process.poll() is not None:
                raise BrowserError(
                    f"{program}: expected a report of the page, got exit code {process.returncode}; start it by hand"
                ) from None
    raise BrowserError(f"{program}: expected a report of the page within {timeout_s:.0f} s, got none; try it again")


class _Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(
        self, *arguments: Any, reports: queue.Queue[Any] | None, paths: queue.Queue[str] | None, **named: Any
    ) -> None:
        self._reports, self._paths = reports, paths
        super().__init__(*arguments, **named)

    def do_POST(self) -> None:
        """Take a report."""
        size = int(self.headers.get("Content-Length", 0))
        if self._reports is None or self.path != REPORT or size > MOST_BYTES:
            self.send_error(404)
            return
        self._reports.put(json.loads(self.rfile.read(size)))
        self.send_response(204)
        self.end_headers()

    def log_request(self, *_: Any) -> None:
        """Note the path instead of writing a line."""
        if self._paths is not None:
            self._paths.put(self.path)

    def log_message(self, *_: Any) -> None:
        """Write no line for an error."""
