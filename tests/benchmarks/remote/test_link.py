"""What a device may print, and an agent that nobody talks to; no server is needed."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.device.tagger_process import ProcessFailedError
from benchmarks.remote import DeviceEntry, DeviceError, agent, ends, faults
from benchmarks.remote.faults import plain
from benchmarks.remote.link import ANSWER, OPTIONS
from benchmarks.remote.ssh import Ssh, printed

MARK = agent.MARK


@pytest.fixture
def device(tmp_path: Path) -> Callable[..., Ssh]:
    """A device whose ssh is this shell script."""

    def device(script: str, **changes: Any) -> Ssh:
        file = tmp_path / "ssh"
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
        entry = {"name": "pi", "host": "board", "retries": 1}
        return Ssh(DeviceEntry(**(entry | changes)), command=(str(file),), wait_s=0.01)

    return device


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (f"echo '{MARK}[1]'", r"expected an answer of the agent, got \[1\]; do not trust this device"),
        (f"echo '{MARK}{{'", r"expected an answer of the agent, got \{; do not"),
        (f"printf '{MARK}[%0200000d' 1 | tr 0 '['; echo", r"expected an answer of the agent, got \[\["),
        ("yes | head -c 100000", "expected an answer of the agent, got more than 64 KiB of something else"),
        (f"echo '{MARK}{{}}'", "expected an answer of the agent, got no folder"),
        (f"""echo '{MARK}{{"folder": "/\\u001b[2J"}}'""", "expected an answer of the agent, got no folder"),
        (
            f"""echo '{MARK}{{"fault": "system", "text": "\\u001b[2J\\u202ea\\u000ab"}}'""",
            r".*got: \[2J a b; see the mess",
        ),
        (r"printf '\033[2Joh\rno\n\n' >&2; exit 3", r"python: expected an answer, got exit code 3: no; try `ssh board"),
        ("printf '%05000d' 0 >&2; exit 3", "python: expected an answer, got exit code 3: 0{300}…; try"),
        (f"printf '{MARK}{{'; exit 255", r"connection to board: .* got: nothing on its standard error \(2 tries\)"),
        ("kill -9 $$", r"connection to board: .* \(2 tries\)"),
    ],
)
def test_what_a_device_prints_is_not_trusted(device: Callable[..., Ssh], script: str, reason: str) -> None:
    with pytest.raises(DeviceError, match=f"^pi: {reason}") as told:
        device(script).scratch()
    assert str(told.value).isprintable()


def test_what_a_login_shell_prints_first_is_passed_over(device: Callable[..., Ssh]) -> None:
    folder = '{"folder": "/store"}'
    assert device(f"echo welcome; echo; echo '{MARK}{folder}'").scratch() == "/store"
    assert device(f"printf welcome; echo '{MARK}{folder}'").scratch() == "/store"


def test_a_login_shell_that_reads_standard_input_is_named(device: Callable[..., Ssh]) -> None:
    """It takes the first line of what is sent; Python then starts as it would on the device."""
    for word in range(3):
        start = f'for last; do :; done\n{"read -r line; " * word}eval "$last"'
        asked = device(start, python=sys.executable, retries=0)
        if word:
            with pytest.raises(DeviceError, match=r"^pi: expected standard input as it was sent, .*~/\.bashrc"):
                asked.scratch()
        else:
            assert asked.scratch()
            asked.close()


def test_silence_ends(device: Callable[..., Ssh]) -> None:
    answer = f"{MARK}{json.dumps({'folder': '/store'})}"
    late = f'exec {shlex.quote(sys.executable)} -S -c \'import time; time.sleep(20); print("""{answer}""")\''
    with pytest.raises(DeviceError, match=r"^pi: login: expected that python3 starts, got nothing within 0\.2 s"):
        device(late, timeout_s=0.2).scratch()
    late = f"echo '{MARK}'; {late}"
    with pytest.raises(DeviceError, match=r"^pi: connection to board: .* got: no answer within 0\.2 s \(1 try\)"):
        device(late, timeout_s=0.2, retries=0).scratch()


@pytest.mark.parametrize(
    ("answer", "body"), [({"bytes": 4, "sha256": "0" * 64}, "abcd"), ({"bytes": 9, "sha256": "0" * 64}, "abcd")]
)
def test_a_file_that_arrives_changed_or_cut_is_none(
    device: Callable[..., Ssh], tmp_path: Path, answer: dict[str, Any], body: str
) -> None:
    with pytest.raises(DeviceError, match=r"got: a file that (changed on the way|arrived in part) \(2 tries\)"):
        device(f"echo '{MARK}{json.dumps(answer)}'; printf {body}").collect("/a", tmp_path / "a")
    assert not list(tmp_path.glob("a*"))


def test_ssh_is_the_users_own_and_asks_nobody(device: Callable[..., Ssh]) -> None:
    words = device("", port=2222, python="~/my env/bin/python3")._link._argv()
    assert (OPTIONS["BatchMode"], OPTIONS["StrictHostKeyChecking"], OPTIONS["ForwardAgent"]) == ("yes", "yes", "no")
    assert words[1:-5] == [word for name, value in OPTIONS.items() for word in ("-o", f"{name}={value}")]
    assert words[-5:-1] == ["-p", "2222", "--", "board"]
    assert words[-1].startswith("exec 'my env/bin/python3' -E -c 'import hashlib,os,sys;")


@pytest.mark.parametrize("out", ["", "[]", "3", '{"a": NaN}', '{"a": -Infinity}', "{" * 100000, '{"a": 1} b'])
def test_a_program_prints_an_object_or_has_failed(out: str) -> None:
    with pytest.raises(ProcessFailedError, match=r"^exit code 1: it b roke$"):
        printed({"late": False, "code": 1, "out": out, "err": "it b\x07roke"}, 9)


@pytest.mark.parametrize("depth", [500, 700, 900, 5000])
def test_an_object_that_is_too_deep_is_none(depth: int) -> None:
    """The parser may bear what walking through it does not."""
    out = f'{{"a": {"[" * depth}{"]" * depth}}}'
    with pytest.raises(ProcessFailedError, match=r"^exit code 1: it broke$"):
        printed({"late": False, "code": 1, "out": out, "err": "it broke"}, 9)


def test_what_a_program_prints_is_printable() -> None:
    out = json.dumps({"a\x1b": ["b\x1b[2J", {"c\u202e": "d\n"}], "n": [1, 2.5, None, True]})
    found = printed({"late": False, "code": 1, "out": out, "err": ""}, 9)
    assert found == {"a": ["b [2J", {"c ": "d "}], "n": [1, 2.5, None, True]}
    with pytest.raises(ProcessFailedError, match="no answer within 9 s"):
        printed({"late": True, "out": "{}"}, 9)


def test_a_line_is_short() -> None:
    assert plain("a\tb\r\nc" + "d" * 1000) == "a b c" + "d" * 295 + "…"


def started(folder: Path, code: str, **constants: str) -> subprocess.Popen[str]:
    """An agent with other constants, asked to run this code."""
    source = Path(agent.__file__).read_text()
    for name, value in constants.items():
        source, changed = re.subn(rf"^{name} = .*", f"{name} = {value}", source, flags=re.MULTILINE)
        assert changed == 1
    line = json.dumps({"do": "run", "folder": str(folder), "wait_s": 9, "timeout_s": 50, "arguments": ["-c", code]})
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-E", "-S", "-c", source], stdin=pipe, stdout=pipe, text=True)
    assert process.stdin is not None
    process.stdin.write(f"{len(line):012}{line}")
    process.stdin.flush()
    return process


@pytest.mark.parametrize("silent", ["closed", "open"])
def test_an_agent_that_nobody_talks_to_ends_what_it_started(tmp_path: Path, silent: str) -> None:
    pid = tmp_path / "pid"
    code = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(50)"
    with started(tmp_path, code, SILENCE_S="0.5") as process:
        while not pid.exists() or not pid.read_text():
            time.sleep(0.01)
        if silent == "closed":
            assert process.stdin is not None
            process.stdin.close()
        assert process.wait(20) == 1
    assert not Path(f"/proc/{pid.read_text()}").exists()


def test_a_program_that_prints_too_much_has_failed(tmp_path: Path) -> None:
    with started(tmp_path, "print('{}' * 50)", PRINTED="99") as process:
        assert process.stdout is not None
        answer = json.loads(process.stdout.readline().removeprefix(MARK))
    with pytest.raises(ProcessFailedError, match=r"^exit code 0: printed more than "):
        printed(answer, 9)


def test_the_desk_gives_signs_of_life(device: Callable[..., Ssh], monkeypatch: pytest.MonkeyPatch) -> None:
    assert 3 * ends.PULSE_S < agent.SILENCE_S
    monkeypatch.setattr(ends, "PULSE_S", 0.05)
    answer = f"""echo '{MARK}{{"folder": "/store"}}'"""
    alive = f'while read line; do case "$line" in 0000*) {answer}; exit;; esac; done'  # the request's line has no end
    assert device(alive, timeout_s=5.0, retries=0).scratch() == "/store"


def test_a_name_that_was_found_once_is_looked_up_again() -> None:
    entry, written = DeviceEntry(name="pi", host="board"), b"ssh: Could not resolve hostname board: Try again"
    assert isinstance(faults.of_ssh(entry, written, False), DeviceError)
    assert isinstance(faults.of_ssh(entry, written, True), faults.ConnectionLostError)


def test_the_longest_print_fits_into_an_answer() -> None:
    assert agent.PRINTED < ANSWER
