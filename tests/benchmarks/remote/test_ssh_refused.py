"""Devices that cannot be used, each behind a real OpenSSH server, and the line that says why."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.remote import DeviceError, Ssh, connection
from tests.helpers import sshd


def test_first_contact_that_fails_says_why(board: Callable[..., Ssh], server: sshd.Server, bundle: Path) -> None:
    stranger, other = sshd.new_key(server.folder / "stranger"), sshd.new_key(server.folder / "other")
    refused = [
        ({"host": "no-board.invalid"}, None, "host: expected a name that can be resolved, got no-board.invalid: "),
        (
            {"host": "127.0.0.1", "port": 1, "retries": 1},
            None,
            r"connection to 127.0.0.1: .*refused.* \(2 tries\); check",
        ),
        ({}, ("stranger", stranger, server.host_key), r"login: expected a key that board accepts, got: .*Permission d"),
        ({}, ("changed", server.key, other), "host key: expected the one in known_hosts, got another: "),
        ({}, ("new", server.key, None), "host key: expected it in known_hosts, got a new one; "),
        (
            {"python": "/nowhere/python3"},
            None,
            "python: expected the program /nowhere/python3, got: .*(not found|No such file)",
        ),
    ]
    for changes, client, reason in refused:
        with pytest.raises(DeviceError, match=f"^pi: {reason}"):
            board(client and server.client(*client), **changes).place(bundle)


def test_a_device_that_is_to_run_nothing_of_the_bundle(board: Callable[..., Ssh], bundle: Path) -> None:
    with pytest.raises(DeviceError, match=r"^pi: runtimes: expected one that the bundle has engines of, got none"):
        board(runtimes=("openvino",)).place(bundle)


@pytest.mark.parametrize(
    ("shell", "problem"),
    [
        ("cat > /dev/null", r"login: .* within 0\.5 s: the login shell of board reads standard in"),
        ("read -r line", r"expected standard input as it was sent, got: 6 of 11 bytes; .*~/\.bashrc"),
    ],
)
def test_a_login_shell_that_reads_standard_input_is_named(
    board: Callable[..., Ssh], python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: str, problem: str
) -> None:
    if shell.startswith("cat"):
        monkeypatch.setattr(connection, "START_S", 0.5)
    (tmp_path / "lines").write_text("1234\n567890")
    reads = str(sshd.shim(tmp_path / "python", python, shell=shell))
    with pytest.raises(DeviceError, match=f"^pi: {problem}"):
        board(python=reads, retries=3).copy_file(tmp_path / "lines")


def test_no_ssh_here(board: Callable[..., Ssh], bundle: Path) -> None:
    with pytest.raises(DeviceError, match=r"^pi: expected the OpenSSH client /nowhere/ssh on this machine, got none"):
        board(("/nowhere/ssh",)).place(bundle)


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        ("sys.version_info = (3, 8, 10)", r"expected Python 3\.10 or newer, got: 3\.8\.10; install one"),
        ("import platform; platform.machine = lambda: 'armv7l'", r"architecture: expected .*got armv7l, 64 bits"),
    ],
)
def test_a_device_of_another_kind(
    board: Callable[..., Ssh], bundle: Path, tmp_path: Path, before: str, reason: str
) -> None:
    bare = sshd.bare_python(tmp_path / "bare", "nothing")
    with pytest.raises(DeviceError, match=f"^pi: {reason}"):
        board(python=str(sshd.shim(tmp_path / "python", bare, before))).place(bundle)


def test_no_space_there(board: Callable[..., Ssh], python: Path, tmp_path: Path) -> None:
    big = tmp_path / "big.jpg"
    big.write_bytes(np.random.default_rng(0).bytes(5 << 20))
    small = "import shutil; shutil.disk_usage = lambda _: type('D', (), {'free': 1000000})"
    full = sshd.shim(tmp_path / "full", python, shell="ulimit -f 2048")
    with pytest.raises(DeviceError, match=r"^pi: space: expected 5\.2 MB free, got 1\.0 MB; make room"):
        board(python=str(sshd.shim(tmp_path / "small", python, small))).copy_images([big])
    with pytest.raises(DeviceError, match=r"^pi: .*: expected room for the bundle .*, got: File too large; make room"):
        board(python=str(full)).copy_images([big])
    assert list((tmp_path / "store/files").iterdir()) == []  # what had arrived makes room for others


def test_a_folder_that_cannot_be_made(board: Callable[..., Ssh]) -> None:
    with pytest.raises(DeviceError, match=r"^pi: /proc/store: expected files that can be .*, got: .*No such file"):
        board(folder="/proc/store").scratch()
