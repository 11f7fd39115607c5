"""Headless Chromium with a profile of its own, driven through its debugging pipe; each page has a tab of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from export.web import keeper
from mlkd.core.processes import child_environment

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-background-timer-throttling",  # a page that nobody sees runs at its full speed
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
)
NO_SANDBOX = "--no-sandbox"  # root cannot have one
TIMEOUT_S = 60.0
ENDING_S = 5.0  # from the end of its pipe to that of a browser
SIGNALLED = 128  # exit codes above have the number of a signal
CONSOLE = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
CRASHED = "Target.targetCrashed"
PLACE = re.compile(r"([\w.-]+:\d+:\d+)\)?$", re.MULTILINE)  # of a line of a stack: its file without the path


class BrowserError(RuntimeError):
    """The browser or a page failed; the message is one line."""


def find_program(executable: str | None = None) -> str | None:
    """The path of the browser, by default the first of PROGRAMS that is installed; None if there is none."""
    return next(filter(None, map(shutil.which, PROGRAMS if executable is None else [executable])), None)


@dataclass(frozen=True)
class Tab:
    """A loaded page."""

    browser: Chromium
    session: str
    target: str

    def run(self, script: str) -> Any:
        """Run the body of an async function in the page and return its value, which is JSON.

        Raises BrowserError where the script throws, with the message and the place.
        """
        code = f"(async () => {{ {script} }})()"
        answer = self.browser.call(
            "Runtime.evaluate", self.session, expression=code, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise BrowserError(f"the page failed: {_error(answer['exceptionDetails'])}")
        return answer["result"].get("value")

    @property
    def console(self) -> list[dict[str, Any]]:
        """Messages on the console, errors and blocked requests included."""
        self.run("")  # earlier events are read before the answer
        events = (event for event in self.browser.events if event.get("sessionId") == self.session)
        return [event["params"] for event in events if event["method"] in CONSOLE]


class Chromium:
    """A browser process with a fresh profile, a context manager; `events` holds every message that answers no command.

    The browser and its profile are gone after `close`, and also if this process is killed.
    """

    domains: tuple[str, ...] = ("Page", "Runtime", "Log")  # of the protocol, whose events are kept

    def __init__(self, program: str, *, sandbox: bool | None = None, limit_s: float | None = None) -> None:
        """Start it; by default in a sandbox, except as root.

        It may run for `limit_s`; without a limit, each command may.
        """
        self._limit_s, self._end = limit_s or TIMEOUT_S, limit_s and time.monotonic() + limit_s
        self.sandbox = os.geteuid() != 0 if sandbox is None else sandbox
        flags = FLAGS if self.sandbox else (*FLAGS, NO_SANDBOX)
        theirs, ours = os.pipe()
        answers, back = os.pipe()
        self._opened = contextlib.ExitStack()
        self._errors = self._opened.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  (open until close)
        self._keeper = _start(theirs, back, [program, *flags], self._errors.fileno())
        os.close(theirs)
        os.close(back)
        self._requests = self._opened.enter_context(os.fdopen(ours, "wb", buffering=0))
        self._answers = self._opened.enter_context(os.fdopen(answers, "rb", buffering=0))
        self._opened.callback(self._keeper.wait)
        self._opened.callback(self.kill)
        self._read, self._sent = b"", 0
        self.events: list[dict[str, Any]] = []

    def open(self, url: str, *, size: tuple[int, int] | None = None) -> Tab:
        """Load a page and run its scripts; `size` is that of the window."""
        self.call("Target.setDiscoverTargets", discover=True)  # says when a page crashes
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in self.domains:
            self.call(f"{domain}.enable", session)
        if size is not None:
            metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
            self.call("Emulation.setDeviceMetricsOverride", session, **metrics)
        error = self.call("Page.navigate", session, url=url).get("errorText")
        if error:
            raise BrowserError(f"the page did not load: {error}")
        deadline, loaded = self._deadline(), ("Page.loadEventFired", session)
        while not any((event["method"], event.get("sessionId")) == loaded for event in self.events):
            self.events.append(self._message(deadline))
        return Tab(self, session, target)

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Send a command of the DevTools protocol and return its result; BrowserError if it fails or takes too long."""
        self._sent += 1
        request = {"id": self._sent, "method": method, "params": params}
        try:
            self._requests.write(json.dumps(request | ({"sessionId": session} if session else {})).encode() + b"\0")
        except BrokenPipeError:
            raise self._ended() from None
        deadline = self._deadline()
        while (answer := self._message(deadline)).get("id") != self._sent:
            self.events.append(answer)
        if "error" in answer:
            raise BrowserError(f"{method}: {_one_line(answer['error'].get('message'))}")
        result: dict[str, Any] = answer["result"]
        return result

    def kill(self) -> None:
        """End all of its processes; may be called from another thread, where `call` then raises BrowserError."""
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()

    def close(self) -> None:
        """End all of its processes and remove its profile."""
        self._opened.close()

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _deadline(self) -> float:
        return self._end or time.monotonic() + self._limit_s

    def _message(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._read:
            if not select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise BrowserError(f"no answer within {self._limit_s:g} s")
            data = os.read(self._answers.fileno(), 1 << 20)
            if not data:
                raise self._ended()
            self._read += data
        first, _, self._read = self._read.partition(b"\0")
        message: dict[str, Any] = json.loads(first)
        if message.get("method") == CRASHED:
            raise BrowserError(f"the page crashed: {_one_line(message['params'].get('status'))}")
        return message

    def _ended(self) -> BrowserError:
        with contextlib.suppress(subprocess.TimeoutExpired):  # a browser that only closed its pipe
            self._keeper.wait(ENDING_S)
        self.kill()
        code = self._keeper.wait()
        if code > SIGNALLED:
            return BrowserError(f"the browser ended by {signal.Signals(code - SIGNALLED).name}")
        self._errors.seek(0)
        lines = self._errors.read()[-10_000:].decode(errors="replace").split("\n")
        last = next(filter(None, map(_one_line, reversed(lines))), "nothing on its standard error")
        return BrowserError(f"the browser ended: {last}")


def _start(commands: int, answers: int, command: Sequence[str], errors: int) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-I", "-S", keeper.__file__, str(commands), str(answers), *command]
    return subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors, pass_fds=(commands, answers),
        env=child_environment(), start_new_session=True,
    )  # fmt: skip


def _error(details: dict[str, Any]) -> str:
    """What a page threw, and where."""
    thrown = details.get("exception", {})
    stack = str(thrown.get("description") or thrown.get("value") or details.get("text"))
    place = PLACE.search(stack)
    return _one_line(stack.partition("\n    at ")[0]) + (f" ({place[1]})" if place else "")


def _one_line(text: object) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
