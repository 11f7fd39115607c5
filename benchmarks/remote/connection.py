"""Calls of the agent's functions on a device through the user's own ssh, one connection each."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import shlex
import subprocess
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

from benchmarks.remote import agent
from benchmarks.remote.base import DeviceEntry, DeviceError
from benchmarks.remote.errors import ConnectionLostError, error, last_line, of_ssh

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
MARK = b"edge-tagger-agent\n"
KINDS = ("python", "system", *agent.FAULTS.values())  # of faults that a device may report
# One line, for every login shell, that every Python understands; the mark ends what the shell's start-up files print.
BOOT = (
    "import base64,os,sys,zlib;del sys.path[0];v=sys.version_info[:3];os.write(1,{mark!r});"
    """(print('{{"fault":"python","text":"%d.%d.%d"}}'%v),sys.exit({fault})) if v<(3,10) else """
    "exec(zlib.decompress(base64.b64decode('{source}')))"
)
NOISE = 64 << 10  # bytes that a login shell may print first; also of an answer, and of errors
LONGEST_WAIT_S = 60.0
START_S = 60.0  # until Python runs there, at the first connection
PULSE_S = 10.0  # well below the silence that the agent bears


class Result(NamedTuple):
    """What a function, or the program that it ran, has printed; its exit code, and the last line of its errors."""

    output: bytes
    code: int
    last_error: str


class Connection:
    """The way to one device; `close` may be called from another thread."""

    def __init__(self, entry: DeviceEntry, command: Sequence[str], wait_s: float) -> None:
        self.entry = entry
        self._command, self._wait_s = command, wait_s
        self._source = Path(agent.__file__).read_text(encoding="utf-8")
        self._closed = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._was_reached = False

    def retry(self, work: Callable[[], T]) -> T:
        """The result of `work`, tried again with growing waits when the connection is lost; DeviceError after that."""
        for attempt in itertools.count():
            try:
                return work()
            except ConnectionLostError as cause:
                wait_s = min(self._wait_s * 2**attempt, LONGEST_WAIT_S)
                if attempt == self.entry.retries or self._closed.wait(wait_s):
                    tries = f"{self.entry.retries + 1} tries" if self.entry.retries else "1 try"
                    raise error(self.entry, "lost", f"{cause} ({tries})") from None
        raise AssertionError

    def ask(self, function: str, **arguments: Any) -> dict[str, Any]:
        """What a function of the agent returns; arguments and errors are those of `call`."""
        output = self.call(function, **arguments).output
        answer = read_object(output)
        if answer is None:
            raise error(self.entry, "invalid", output[:200].decode(errors="replace"))
        return answer

    def call(
        self,
        function: str,
        *,
        stdin: IO[bytes] | None = None,
        silence_s: float | None = None,
        longest: int = NOISE,
        **arguments: Any,
    ) -> Result:
        """Call a function of the agent in a connection of its own.

        Args:
            function: its name.
            stdin: a file that is sent from where it stands; None keeps standard input open, with a byte now and then.
            silence_s: how long the device may be silent; None is its `timeout_s`.
            longest: the most bytes that it may print.
            arguments: of the function, besides those that the device's entry has.

        Raises:
            ConnectionLostError: it may be better the next time.
            DeviceError: it will not.
        """
        arguments = {"folder": self.entry.folder, "wait_s": self.entry.timeout_s} | arguments
        words, silence_s = self._words(function, arguments), silence_s or self.entry.timeout_s
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            with self._started(words, stdin, out, err) as process:
                self._wait(process, stdin, (out, err), silence_s, NOISE + longest)
            out.seek(0)
            err.seek(-min(err.seek(0, os.SEEK_END), NOISE), os.SEEK_END)
            return self._result(out.read(), process.returncode, err.read().decode(errors="replace"))

    def close(self) -> None:
        """End what is under way, and begin nothing more."""
        self._closed.set()
        if self._process is not None:
            self._process.kill()

    @property
    def is_busy(self) -> bool:
        """Whether another thread waits for the device."""
        return self._process is not None

    @contextlib.contextmanager
    def _started(self, words: Sequence[str], stdin: IO[bytes] | None, out: IO[bytes], err: IO[bytes]) -> Iterator[Any]:
        if self._closed.is_set():
            raise DeviceError(f"{self.entry.name}: expected an open device, got one that was closed")
        try:
            process = subprocess.Popen(words, stdin=stdin or subprocess.PIPE, stdout=out, stderr=err, bufsize=0)
        except FileNotFoundError:
            raise error(self.entry, "no ssh", self._command[0]) from None
        self._process = process
        try:
            yield process
        finally:
            self._process = None
            process.kill()
            process.communicate()

    def _words(self, function: str, arguments: dict[str, Any]) -> list[str]:
        assert self.entry.host is not None
        options = [word for name, value in OPTIONS.items() for word in ("-o", f"{name}={value}")]
        port = [] if self.entry.port is None else ["-p", str(self.entry.port)]
        source = f"{self._source}\nanswer({function}, {arguments!r})"
        packed = base64.b64encode(zlib.compress(source.encode(), 9)).decode()
        boot = shlex.quote(BOOT.format(mark=MARK, fault=agent.FAULT, source=packed))
        python = shlex.quote(self.entry.python.removeprefix("~/"))  # the shell starts in the home folder
        return [*self._command, *options, *port, "--", self.entry.host, f"exec {python} -E -c {boot}"]

    def _wait(
        self,
        process: subprocess.Popen[bytes],
        stdin: IO[bytes] | None,
        written: Sequence[IO[bytes]],
        silence_s: float,
        longest: int,
    ) -> None:
        """Wait for the end of ssh; raises DeviceError or ConnectionLostError if nothing moves, or too much comes."""
        last, since = (0, 0), time.monotonic()
        while True:
            if process.stdin:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.write(b"\n")
            limit_s = silence_s if self._was_reached else min(START_S, silence_s)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(min(PULSE_S, limit_s))
            progress = stdin.tell() if stdin else 0, sum(os.fstat(file.fileno()).st_size for file in written)
            self._was_reached = self._was_reached or MARK in os.pread(written[0].fileno(), NOISE, 0)
            most = longest if self._was_reached else NOISE
            if progress[1] > most:
                raise error(self.entry, "invalid", f"more than {most >> 10} KiB")
            if process.returncode is not None:
                return
            if progress != last:
                last, since = progress, time.monotonic()
            elif time.monotonic() - since >= limit_s:
                if self._was_reached:
                    raise ConnectionLostError(f"no answer within {limit_s:g} s")
                raise error(self.entry, "not started", f"{limit_s:g} s")

    def _result(self, written: bytes, code: int, messages: str) -> Result:
        """What an ssh process that ended has brought, or why it has not."""
        _, mark, output = written.partition(MARK)
        if code == agent.LOST or code < 0:
            raise of_ssh(self.entry, messages, was_reached=self._was_reached)
        if not mark and code in (126, 127):
            raise error(self.entry, "no python", last_line(messages))
        if not mark:
            raise error(self.entry, "exit", f"exit code {code}: {last_line(messages)}")
        if code == agent.FAULT and "fault" in (answer := read_object(output) or {}):
            kind = answer["fault"] if answer["fault"] in KINDS else "system"  # others advise on host keys and logins
            raise error(self.entry, kind, str(answer.get("text")))
        return Result(output, code, last_line(messages))


def read_object(line: bytes) -> dict[str, Any] | None:
    """The JSON object in a line, with printable text and finite numbers only; None for anything else."""
    try:
        read = _clean(json.loads(line, parse_constant=_refuse))
    except (ValueError, RecursionError):
        return None
    return read if isinstance(read, dict) else None


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return "".join(c if c.isprintable() else " " for c in value)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {_clean(name): _clean(item) for name, item in value.items()}
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(f"expected a number, got {constant}")
