"""A real OpenSSH server on loopback with keys of its own, and bare Pythons for it to run."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.test_torch_free import bare_environment

PROGRAM = shutil.which("sshd") or next(iter(map(str, Path("/usr/sbin").glob("sshd"))), None)


class Server:
    """Listens while it is entered; `command` is the ssh that knows it as the host `board`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700)
        self.host_key, self.key = new_key(folder / "host_key"), new_key(folder / "key")
        (folder / "authorized_keys").write_text(self.key.with_suffix(".pub").read_text())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.command = self.client("known", self.key, self.host_key)
        (folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {self.host_key}\nPidFile none\nUsePAM no\nStrictModes no\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\nPasswordAuthentication no\nMaxStartups 100\n"
        )

    def client(self, name: str, key: Path, host_key: Path | None) -> tuple[str, ...]:
        """An ssh that reaches the host `board` with `key` and expects that host key of it; None knows of none."""
        known, config = self.folder / f"{name}_hosts", self.folder / f"{name}_config"
        kind = host_key.with_suffix(".pub").read_text().rsplit(maxsplit=1)[0] if host_key else ""
        known.write_text(f"[127.0.0.1]:{self.port} {kind}\n" if kind else "")
        config.write_text(
            f"Host board\n  HostName 127.0.0.1\n  Port {self.port}\n"
            f"Host *\n  User {pwd.getpwuid(os.getuid()).pw_name}\n  IdentityFile {key}\n  IdentitiesOnly yes\n"
            f"  KexAlgorithms curve25519-sha256\n"  # a third faster than the default, and not what is tested
            f"  UserKnownHostsFile {known}\n  GlobalKnownHostsFile none\n"
        )
        return "ssh", "-F", str(config)

    def __enter__(self) -> Server:
        assert PROGRAM is not None
        with contextlib.suppress(OSError):  # where the system's own would put it at its start
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        log = (self.folder / "sshd.log").open("wb")
        command = [PROGRAM, "-D", "-e", "-f", str(self.folder / "sshd_config")]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return self
            time.sleep(0.02)
        raise AssertionError((self.folder / "sshd.log").read_text())

    def __exit__(self, *_: object) -> None:
        self.cut()
        self.process.terminate()
        self.process.wait()

    def cut(self) -> int:
        """Pull every connection; how many there were."""
        pids = descendants(self.process.pid)
        connections = [pid for pid in pids if name_of(pid).startswith("sshd")]
        for pid in connections:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(connections)


def descendants(pid: int) -> list[int]:
    """The processes below one."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [below for child in map(int, children) for below in (child, *descendants(child))]


def name_of(pid: int) -> str:
    """What a process is called."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text()
    return ""


def new_key(file: Path) -> Path:
    """A key pair without a passphrase."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file)], check=True)
    return file


def bare_python(folder: Path, runtime: str = "onnxruntime") -> Path:
    """A Python that finds numpy, Pillow and one runtime, and nothing else."""
    site = folder / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    site.mkdir(parents=True)
    (site / "bare.pth").write_text(f"{bare_environment(folder / 'packages', runtime)}\n")
    base = Path(sys._base_executable)  # type: ignore[attr-defined]
    (folder / "pyvenv.cfg").write_text(f"home = {base.parent}\ninclude-system-site-packages = false\n")
    (folder / "bin").mkdir()
    (folder / "bin/python").symlink_to(base)
    return folder / "bin/python"


def shim(file: Path, python: Path, before: str = "", shell: str = ":") -> Path:
    """A program that is `python` after a line of shell, with a line of Python before the code that it is given.

    With such a line, what it starts in turn goes the same way.
    """
    before = before and f"sys.executable = '{file}'; {before}"
    script = f"""#!/bin/sh
{shell}
[ "$1" = -E ] && shift
[ "$1" = -c ] || exec {python} "$@"
code="$2"
shift 2
exec {python} -c "import sys; {before}
exec(sys.argv.pop(1))" "$code" "$@"
"""
    file.write_text(script)
    file.chmod(0o755)
    return file
