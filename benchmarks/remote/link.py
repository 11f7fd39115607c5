"""Requests to the agent on a device through the user's own ssh, one connection each."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.remote import agent, faults
from benchmarks.remote.base import DeviceEntry, DeviceError
from benchmarks.remote.ends import Ends
from benchmarks.remote.faults import ConnectionLostError

T = TypeVar("T")
OPTIONS = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "ConnectTimeout": "20",
    "ServerAliveInterval": "15",
    "ServerAliveCountMax": "3",
    "RequestTTY": "no",
    "RemoteCommand": "none",
    "ClearAllForwardings": "yes",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "LogLevel": "ERROR",
}
BOOT = (
    "import hashlib,os,sys;del sys.path[0];v=sys.version_info[:3];os.write(1,b'{mark}\\n');"
    "s=b''.join(os.read(0,1) for _ in range({size} if v>=(3,10) else 0));"
    """print('{mark}{{"fault":"python","text":"%d.%d.%d"}}'%v) if v<(3,10) else """
    "exec(s) if hashlib.sha256(s).hexdigest()=='{sha256}' else "
    """print('{mark}{{"fault":"input","text":"a part of it"}}')"""
)
NOISE = 64 << 10  # bytes that a login shell may print first
ANSWER = 160 << 20
COLLECTED = 1 << 30
LONGEST_WAIT_S = 60.0
START_S = 60.0  # until Python runs there, at the first connection


class Link:
    """The way to one device; `close` may be called from another thread."""

    def __init__(self, entry: DeviceEntry, command: Sequence[str], wait_s: float) -> None:
        self.entry = entry
        self.reached = False
        self._command, self._wait_s = command, wait_s
        self._source = Path(agent.__file__).read_bytes()
        self._closed = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None

    def insist(self, work: Callable[[], T]) -> T:
        """The result of `work`, tried again with growing waits when the connection is lost; DeviceError after that."""
        tries = self.entry.retries + 1
        for left in reversed(range(tries)):
            try:
                return work()
            except ConnectionLostError as cause:
                wait_s = min(self._wait_s * 2 ** (tries - left - 1), LONGEST_WAIT_S)
                if left == 0 or self._closed.wait(wait_s):
                    raise faults.of_retries(self.entry, cause) from None
        raise AssertionError

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """The agent's answer to a request without a body, insistently."""
        return self.insist(lambda: self.once(do, **request))

    def once(
        self,
        do: str,
        *,
        body: Iterable[bytes] = (),
        sink: Path | None = None,
        limit_s: float | None = None,
        **request: Any,
    ) -> dict[str, Any]:
        """One connection: the request, its body, the answer; bytes that follow the answer go to `sink`, verified.

        Raises ConnectionLostError or DeviceError.
        """
        limit_s = limit_s or self.entry.timeout_s
        with self._connected(limit_s if self.reached else min(START_S, limit_s)) as ends:
            line = json.dumps(
                {"do": do, "folder": self.entry.folder, "wait_s": self.entry.timeout_s, **request}
            ).encode()
            ends.feed([self._source, b"%012d" % len(line), line])
            ends.feed(body)
            ends.fed = True
            answer = self._answer(ends, limit_s)
            if answer is not None and sink is not None and "fault" not in answer:
                self._receive(ends, answer, sink)
        if answer is None:
            raise self._silence(ends)
        if "fault" in answer:
            raise self._fault(do, answer)
        return answer

    def close(self) -> None:
        """End what is under way, and begin nothing more."""
        self._closed.set()
        if self._process is not None:
            self._process.kill()

    @property
    def busy(self) -> bool:
        """Whether another thread waits for the device."""
        return self._process is not None

    @contextlib.contextmanager
    def _connected(self, limit_s: float) -> Any:
        if self._closed.is_set():
            raise DeviceError(f"{self.entry.name}: expected an open device, got one that was closed")
        pipe = subprocess.PIPE
        try:
            process = subprocess.Popen(self._argv(), stdin=pipe, stdout=pipe, stderr=pipe)
        except FileNotFoundError:
            raise faults.no_client(self.entry, self._command[0]) from None
        self._process = process
        ends = Ends(process, limit_s)
        try:
            yield ends
        finally:
            self._process = None
            ends.close()

    def _argv(self) -> list[str]:
        assert self.entry.host is not None
        options = [word for name, value in OPTIONS.items() for word in ("-o", f"{name}={value}")]
        port = [] if self.entry.port is None else ["-p", str(self.entry.port)]
        digest = hashlib.sha256(self._source).hexdigest()
        boot = BOOT.format(size=len(self._source), sha256=digest, mark=agent.MARK)
        python = self.entry.python.removeprefix("~/")  # the shell starts in the home folder, and sees this quoted
        there = f"exec {shlex.quote(python)} -E -c {shlex.quote(boot)}"
        return [*self._command, *options, *port, "--", self.entry.host, there]

    def _answer(self, ends: Ends, limit_s: float) -> dict[str, Any] | None:
        """The line behind the mark; None if the connection ended before it.

        Python's first word there is a mark alone: from then on the silence may last `limit_s`.
        """
        noise = 0
        while line := ends.stdout.readline(ANSWER):
            _, marked, answer = line.partition(agent.MARK.encode())  # the shell's own words may have no line's end
            if marked:
                self.reached, ends.limit_s, ends.heard = True, limit_s, time.monotonic()
                if answer != b"\n":
                    return self._read(answer) if line.endswith(b"\n") else None
            noise += len(line)
            if noise > NOISE:
                raise faults.not_understood(self.entry, f"more than {NOISE >> 10} KiB of something else")
        return None

    def _read(self, line: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise faults.not_understood(self.entry, faults.plain(line[:200].decode(errors="replace")))
        return answer

    def _receive(self, ends: Ends, answer: dict[str, Any], sink: Path) -> None:
        size, expected = answer.get("bytes"), answer.get("sha256")
        if not isinstance(size, int) or not 0 <= size <= COLLECTED:
            raise faults.not_understood(self.entry, f"a file of {faults.plain(str(size)[:40])} bytes")
        digest = hashlib.sha256()
        with sink.open("wb") as file:
            while size and (piece := ends.stdout.read(min(size, agent.PIECE))):
                ends.heard = time.monotonic()
                digest.update(piece)
                file.write(piece)
                size -= len(piece)
        if size or digest.hexdigest() != expected:
            raise ConnectionLostError("a file that arrived in part" if size else "a file that changed on the way")

    def _silence(self, ends: Ends) -> Exception:
        """Why there was no answer."""
        if ends.late and not self.reached:
            return faults.not_started(self.entry, ends.limit_s)
        if ends.late:
            return ConnectionLostError(f"no answer within {ends.limit_s:g} s")
        code, written = ends.process.returncode, bytes(ends.errors)
        if code == 255 or code < 0:
            return faults.of_ssh(self.entry, written, self.reached)
        return faults.of_exit(self.entry, code, written)

    def _fault(self, do: str, answer: dict[str, Any]) -> Exception:
        text = str(answer.get("text"))
        if do == "put" and answer["fault"] == "damaged":  # what had arrived before was spoilt; it is removed now
            return ConnectionLostError(faults.plain(text))
        return faults.of_answer(self.entry, answer["fault"], text)
