"""A command whose processes are found by a mark in their environment, whoever started them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

MARK = "TORTURE_MARK"
REPOSITORY = Path(__file__).parents[2]


def module(*words: str) -> list[str]:
    """The command `python -m WORDS`."""
    return [sys.executable, "-m", *words]


class Marked:
    """A command in `work`, with more variables, with a folder of temporary files and one thread."""

    def __init__(
        self,
        work: Path,
        command: Sequence[str | Path],
        variables: Mapping[str, str] | None = None,
        *,
        log_name: str = "log.txt",
    ) -> None:
        self.temporary = work / "tmp"
        self.temporary.mkdir(exist_ok=True)
        self.log = work / log_name
        self._mark = uuid.uuid4().hex
        own = {MARK: self._mark, "TMPDIR": str(self.temporary), "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
        environment = os.environ | own | dict(variables or {})
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=work, env=environment, stdout=log, stderr=log)

    def children(self) -> list[int]:
        """All processes but the first that were started by it, however far removed."""
        return [pid for pid in _marked(self._mark) if pid != self.process.pid]

    def wait(self, seconds: float) -> int | None:
        """The exit code; None if it still runs after so many seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(seconds)
        return None

    def orphans(self, seconds: float) -> list[str]:
        """The commands of processes that are there after the first one ended and so many seconds passed; ends them."""
        until = time.monotonic() + seconds
        while (left := self.children()) and time.monotonic() < until:
            time.sleep(0.1)
        names = [_command(pid) for pid in left]
        self.kill()
        return names

    def kill(self) -> None:
        """End all processes."""
        while pids := list(_marked(self._mark)):
            for pid in pids:
                send(pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(1)
        self.process.wait()

    def tail(self) -> str:
        """The last line that it printed."""
        lines = self.output().strip().splitlines()
        return lines[-1] if lines else ""

    def output(self) -> str:
        """All that it printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def send(pid: int, number: int) -> None:
    """Send a signal to a process that may have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _marked(mark: str) -> Iterator[int]:
    wanted = f"{MARK}={mark}".encode()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if wanted in (folder / "environ").read_bytes().split(b"\0") and not _is_zombie(folder):
                    yield int(folder.name)


def _is_zombie(folder: Path) -> bool:
    return (folder / "stat").read_text().rpartition(") ")[2].startswith("Z")


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:120]
    return "?"
