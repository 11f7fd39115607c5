"""Headless Chromium, started once and driven through its debugging pipe; each page has a tab of its own."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe"),
]
TIMEOUT_S = 60
CONSOLE = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")


@dataclass(frozen=True)
class Tab:
    """A loaded page."""

    browser: Chromium
    session: str
    target: str

    def run(self, script: str) -> Any:
        """Run the body of a function in the page and return its value, of a promise the value that it gives.

        Raises RuntimeError where the script throws.
        """
        code = f"(() => {{ {script} }})()"
        options = {"returnByValue": True, "awaitPromise": True}
        answer = self.browser.call("Runtime.evaluate", self.session, expression=code, **options)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    @property
    def console(self) -> list[dict[str, Any]]:
        """Messages on the console, errors and blocked requests included."""
        self.run("")  # earlier events are read before the answer
        events = (event for event in self.browser.events if event.get("sessionId") == self.session)
        return [event["params"] for event in events if event["method"] in CONSOLE]


class Chromium:
    """The browser process; `events` holds every message that answers no command."""

    def __init__(self, profile: Path) -> None:
        assert PROGRAM is not None
        theirs, ours = os.pipe()
        answers, back = os.pipe()
        redirected = ["bash", "-c", f'exec "$@" 3<&{theirs} 4>&{back}', "bash", PROGRAM, *FLAGS]
        command = [*redirected, f"--user-data-dir={profile}"]
        quiet: Any = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, pass_fds=(theirs, back), **quiet)
        os.close(theirs)
        os.close(back)
        self._requests, self._answers = os.fdopen(ours, "wb"), answers
        self._read, self._sent = b"", 0
        self.events: list[dict[str, Any]] = []

    def open(self, page: Path | str, width: int = 390, height: int = 900) -> Tab:
        """Load a page, a file or an address, and run its scripts."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable", session)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", session, **size)
        self.call("Page.navigate", session, url=page if isinstance(page, str) else page.as_uri())
        while not any(
            (event["method"], event.get("sessionId")) == ("Page.loadEventFired", session) for event in self.events
        ):
            self.events.append(self._message())
        return Tab(self, session, target)

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Send a command of the DevTools protocol and return its result.

        Raises RuntimeError for a command that fails, as a script whose page is left.
        """
        self._sent += 1
        request = {"id": self._sent, "method": method, "params": params}
        self._requests.write(json.dumps(request | ({"sessionId": session} if session else {})).encode() + b"\0")
        self._requests.flush()
        while (answer := self._message()).get("id") != self._sent:
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(answer["error"]["message"])
        result: dict[str, Any] = answer["result"]
        return result

    def close(self) -> None:
        self._requests.close()
        self._process.terminate()
        self._process.wait(TIMEOUT_S)
        os.close(self._answers)

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            if not select.select([self._answers], [], [], TIMEOUT_S)[0]:
                raise TimeoutError(f"chromium: no answer within {TIMEOUT_S} s")
            data = os.read(self._answers, 1 << 20)
            if not data:
                raise EOFError("chromium has ended")
            self._read += data
        first, _, self._read = self._read.partition(b"\0")
        message: dict[str, Any] = json.loads(first)
        return message
