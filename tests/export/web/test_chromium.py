"""A real Chromium: what it returns, how it fails, and that nothing of it stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from export.web.chromium import BrowserError, Chromium, find_program
from export.web.server import serve
from tests.helpers import chromium

pytestmark = pytest.mark.usefixtures("chromium_installed")
BLANK = "data:text/html,"
HOLDS = """import time
from tests.helpers.chromium import Chromium
browser = Chromium()
browser.open("data:text/html,").run("return 1")
print("ready", flush=True)
time.sleep(100)
"""


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where browsers make their folders, with a short path, for that of a socket lies below it."""
    folder = Path(f"/tmp/tagger-test-{os.getpid()}")
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    folder.rmdir()


def processes(folder: Path) -> list[int]:
    """Those that have a folder in their command line."""
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in command.read_bytes():
                found.append(int(command.parent.name))
        except OSError:
            continue
    return found


def first_of(pids: list[int]) -> int:
    """The one that started the others; numbers of processes begin again at some time."""
    parents = {pid: int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1]) for pid in pids}
    (first,) = (pid for pid, parent in parents.items() if parent not in parents)
    return first


def wait_for(condition: Callable[[], object]) -> None:
    """At most 30 s."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_script_returns_json_and_may_wait(browser: Chromium) -> None:
    tab = browser.open(BLANK)
    assert tab.run("return {a: await new Promise((done) => setTimeout(() => done([1.5, 'b']), 1))}") == {
        "a": [1.5, "b"]
    }


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("throw new TypeError('no\\nsuch')", "the page failed: TypeError: no such"),
        ("throw 5", "the page failed: 5"),
        (
            "await import('data:text/javascript,nothing.here')",
            "the page failed: ReferenceError: nothing is not defined",
        ),
        ("await fetch('http://127.0.0.1:1/')", "the page failed: TypeError: Failed to fetch"),
    ],
)
def test_an_error_of_the_page_has_its_message(browser: Chromium, script: str, message: str) -> None:
    with pytest.raises(BrowserError) as raised:
        browser.open(BLANK).run(script)
    assert str(raised.value).startswith(message)


def test_a_page_that_does_not_load(browser: Chromium) -> None:
    with serve({}) as address:
        pass
    with pytest.raises(BrowserError, match="the page did not load: net::ERR_CONNECTION_REFUSED"):
        browser.open(address)


def test_a_page_that_hangs_crashes_or_loses_its_browser_fails_in_time(temporary: Path) -> None:
    with chromium.Chromium(limit_s=3) as browser, pytest.raises(BrowserError, match=r"^no answer within 3 s$"):
        browser.open(BLANK).run("for (;;);")
    with chromium.Chromium() as browser:
        tab = browser.open(BLANK)
        with pytest.raises(BrowserError, match=r"^the page crashed: "):
            browser.call("Page.crash", tab.session)
    with chromium.Chromium() as browser:
        tab = browser.open(BLANK)
        os.kill(first_of(processes(temporary)), signal.SIGKILL)
        with pytest.raises(BrowserError, match=r"^the browser ended by SIGKILL$"):
            tab.run("return 1")
    assert list(temporary.iterdir()) == processes(temporary) == []


def test_a_browser_that_does_not_start_says_why(tmp_path: Path) -> None:
    program = tmp_path / "browser"
    program.write_text("#!/bin/sh\necho first >&2\necho 'no display\a' >&2\nexit 1\n")
    program.chmod(0o755)
    with Chromium(str(program)) as browser, pytest.raises(BrowserError, match=r"^the browser ended: no display$"):
        browser.open(BLANK)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_stays_when_the_caller_is_killed(number: signal.Signals, temporary: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDS], stdout=subprocess.PIPE) as caller:
        assert caller.stdout is not None
        assert caller.stdout.readline() == b"ready\n"
        assert len(processes(temporary)) > 1
        caller.send_signal(number)
    wait_for(lambda: not processes(temporary) and not list(temporary.iterdir()))


def test_the_program_is_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_program() is None
    (tmp_path / "google-chrome").touch(0o755)
    assert find_program() == str(tmp_path / "google-chrome")
    assert find_program("chromium") is None
