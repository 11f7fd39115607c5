"""Runs a browser in a folder of its own until standard input ends, then ends all of it and removes the folder.

A process of its own, so that this happens even if the caller is killed; run by its path, standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

PIPE = (3, 4)  # Chromium reads commands of its debugging pipe from 3 and writes answers to 4
HIGH = 10  # above both
REMOVED_S = 5.0  # processes that end may still write into the folder


def keep(commands: int, answers: int, command: Sequence[str]) -> int:
    """Run a browser on the two ends of its debugging pipe until it ends, or the caller does.

    Returns:
        The exit code of the browser, 128 and the number of a signal that ended it, or 0 if the caller ended.
    """
    for end, number in zip([fcntl.fcntl(end, fcntl.F_DUPFD, HIGH) for end in (commands, answers)], PIPE, strict=True):
        os.dup2(end, number)
    folder = tempfile.mkdtemp(prefix="edge-tagger-")
    try:
        with subprocess.Popen(
            [*command, f"--user-data-dir={folder}/profile"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            pass_fds=PIPE, start_new_session=True, env={**os.environ, "TMPDIR": folder},
        ) as browser:  # fmt: skip
            try:
                wait(browser.pid)
                code = browser.poll() or 0
                return code if code >= 0 else 128 - code
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(browser.pid, signal.SIGKILL)
    finally:
        remove(Path(folder))


def wait(browser: int) -> None:
    """Sleep until standard input or the process ends."""
    with selectors.DefaultSelector() as ends:
        ends.register(0, selectors.EVENT_READ)
        ends.register(os.pidfd_open(browser), selectors.EVENT_READ)
        ends.select()


def remove(folder: Path) -> None:
    """Remove a folder that processes may still write into."""
    deadline = time.monotonic() + REMOVED_S
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=time.monotonic() < deadline)
        time.sleep(0.01)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # standard input ends with the caller
    sys.exit(keep(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
