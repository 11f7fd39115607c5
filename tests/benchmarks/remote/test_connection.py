"""What a device may print, and an agent whose caller is gone; no server is needed."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.device.tagger_process import ProcessFailedError
from benchmarks.remote import DeviceEntry, DeviceError, Ssh, agent, connection, errors
from benchmarks.remote.connection import OPTIONS, Result, read_object
from benchmarks.remote.ssh import read_printed

MARK = f"echo {connection.MARK.decode().strip()};"
FOLDER = """echo '{"folder": "/store"}'"""


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        (f"{MARK} echo '[1]'", r"expected an answer of the agent, got \[1\]; do not trust this device"),
        (f"{MARK} echo '{{'", r"expected an answer of the agent, got \{; do not"),
        (f"{MARK} printf '[%050000d' 1 | tr 0 '['", r"expected an answer of the agent, got \[{200}; do not"),
        (f"{MARK} yes | head -c 200000", "expected an answer of the agent, got more than 128 KiB"),
        ("yes | head -c 100000", "expected an answer of the agent, got more than 64 KiB"),
        (f"{MARK} echo '{{}}'", "expected an answer of the agent, got no folder"),
        (f"""{MARK} echo '{{"missing": {{"ab": 0}}, "free": 9}}'""", "expected an .* got no list of files"),
        (
            rf"""{MARK} echo '{{"fault": "system", "text": "\u001b[2J\u202ea\u000ab"}}'; exit {agent.FAULT}""",
            r".*got: \[2J a b; see the mess",
        ),
        *(
            (f"""{MARK} echo '{{"fault": "{kind}", "text": "x"}}'; exit {agent.FAULT}""", ".*got: x; see the message")
            for kind in ("another host key", "key", "lost", "{entry.python}")
        ),
        (r"printf '\033[2Joh\rno\n\n' >&2; exit 3", r"python: expected an answer, got exit code 3: no; try `ssh board"),
        ("printf '%05000d' 0 >&2; exit 3", "python: expected an answer, got exit code 3: 0+…; try"),
        (f"{MARK} exit 255", r"connection to board: .* got: nothing on its standard error \(2 tries\)"),
        ("kill -9 $$", r"connection to board: .* \(2 tries\)"),
    ],
)
def test_output_of_a_device_is_not_trusted(scripted: Callable[..., Ssh], script: str, problem: str) -> None:
    with pytest.raises(DeviceError, match=f"^pi: {problem}") as raised:
        scripted(script).scratch()
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("welcome", ["echo welcome; echo", "printf welcome"])
def test_a_banner_of_the_login_shell_is_ignored(scripted: Callable[..., Ssh], welcome: str) -> None:
    assert scripted(f"{welcome}; {MARK} {FOLDER}").scratch() == "/store"


def test_silence_ends_a_call(scripted: Callable[..., Ssh]) -> None:
    late = "exec sleep 20"
    with pytest.raises(DeviceError, match=r"^pi: login: expected that python3 starts, got nothing within 0\.2 s"):
        scripted(late, timeout_s=0.2).scratch()
    with pytest.raises(DeviceError, match=r"^pi: connection to board: .* got: no answer within 0\.2 s \(1 try\)"):
        scripted(f"{MARK} {late}", timeout_s=0.2, retries=0).scratch()


@pytest.mark.parametrize("step", ["echo it starts", "dd bs=1 count=1 of=/dev/null 2>/dev/null"])
def test_a_call_with_progress_is_not_ended(scripted: Callable[..., Ssh], tmp_path: Path, step: str) -> None:
    (tmp_path / "file").write_text("a file")
    device = scripted(f"for n in 1 2 3 4 5; do {step}; sleep 0.3; done; {MARK} {FOLDER}", timeout_s=1.0)
    with (tmp_path / "file").open("rb", buffering=0) as file:
        assert device._connection.ask("place", stdin=file) == {"folder": "/store"}


def test_ssh_is_the_users_own_and_asks_nobody(scripted: Callable[..., Ssh]) -> None:
    words = scripted("", port=2222, python="~/my env/bin/python3")._connection._words("place", {})
    assert (OPTIONS["BatchMode"], OPTIONS["StrictHostKeyChecking"], OPTIONS["ForwardAgent"]) == ("yes", "yes", "no")
    assert words[1:-5] == [word for name, value in OPTIONS.items() for word in ("-o", f"{name}={value}")]
    assert words[-5:-1] == ["-p", "2222", "--", "board"]
    assert words[-1].startswith("exec 'my env/bin/python3' -E -c 'import base64,os,sys,zlib;")
    assert "\n" not in words[-1]  # which a C shell does not allow between quotes
    assert len(words[-1]) < 9000  # the longest command of Dropbear


@pytest.mark.parametrize(
    "line",
    ["", "[]", "3", '{"a": NaN}', '{"a": -Infinity}', "{" * 100000, '{"a": 1} b']
    + [f'{{"a": {"[" * depth}{"]" * depth}}}' for depth in (700, 900, 5000)],  # the parser may bear more than the rest
)
def test_a_program_prints_an_object_or_has_failed(line: str) -> None:
    with pytest.raises(ProcessFailedError, match=r"^exit code 1: it broke$"):
        read_printed(Result(f"first\n{line}\n".encode(), 1, "it broke"))


def test_what_a_program_prints_is_made_printable() -> None:
    line = json.dumps({"a\x1b": ["b\x1b[2J", {"c\u202e": "d\n"}], "n": [1, 2.5, None, True]}).encode()
    assert read_object(line) == {"a ": ["b [2J", {"c ": "d "}], "n": [1, 2.5, None, True]}


def run_agent(function: str, folder: Path, **arguments: object) -> subprocess.Popen[bytes]:
    """A call of the agent that waits for 0.5 s in silence only."""
    source, count = re.subn(r"(?m)^SILENCE_S = .*", "SILENCE_S = 0.5", Path(agent.__file__).read_text())
    assert count == 1
    source += f"\nanswer({function}, {arguments | {'folder': str(folder), 'wait_s': 9}!r})"
    return subprocess.Popen([sys.executable, "-E", "-S", "-c", source], stdin=subprocess.PIPE)


@pytest.mark.parametrize("caller", ["closed", "silent"])
def test_an_agent_whose_caller_is_gone_ends_what_it_started(tmp_path: Path, caller: str) -> None:
    pid = tmp_path / "pid"
    code = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(50)"
    with run_agent("run", tmp_path, arguments=["-c", code], timeout_s=50) as process:
        while not pid.exists() or not pid.read_text():
            time.sleep(0.01)
        if caller == "closed":
            assert process.stdin is not None
            process.stdin.close()
        assert process.wait(20) == agent.LOST
    assert not Path(f"/proc/{pid.read_text()}").exists()


def test_an_agent_that_receives_nothing_more_gives_way(tmp_path: Path) -> None:
    with run_agent("place", tmp_path, target="bundles/a", files={"a": "ab"}, sent=[("ab", 0, 9)]) as process:
        assert process.stdin is not None
        process.stdin.write(b"abc")
        process.stdin.flush()
        assert process.wait(20) == agent.LOST
    assert (tmp_path / "files/ab.partial").read_bytes() == b"abc"


def test_a_caller_gives_signs_of_life(scripted: Callable[..., Ssh], monkeypatch: pytest.MonkeyPatch) -> None:
    assert 3 * connection.PULSE_S < agent.SILENCE_S
    monkeypatch.setattr(connection, "PULSE_S", 0.05)
    script = f"{MARK} read -r line; read -r line; {FOLDER}"
    assert scripted(script, timeout_s=5.0, retries=0).scratch() == "/store"


def test_a_name_that_was_resolved_once_is_looked_up_again() -> None:
    entry, written = DeviceEntry(name="pi", host="board"), "ssh: Could not resolve hostname board: Try again"
    assert isinstance(errors.of_ssh(entry, written, was_reached=False), DeviceError)
    assert isinstance(errors.of_ssh(entry, written, was_reached=True), errors.ConnectionLostError)
