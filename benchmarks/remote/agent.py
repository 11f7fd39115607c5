"""The desk's hand on a device: one file of the standard library in Python 3.10, sent with every connection.

Standard input: a line's length in 12 digits, the line, a JSON request; then the bytes of `put`, then a byte now and
then for as long as the desk lives.  Standard output: MARK and a line of JSON; then the bytes of `send`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

MARK = "edge-tagger-agent "
PIECE = 1 << 20
SILENCE_S = 60.0  # without a sign of life from the desk
PRINTED = 64 << 20  # bytes
KEEP_S, UNSET_S = 30 * 86400.0, 20 * 365 * 86400.0  # unused for so long: dropped; older: the clock was not set then
FAULTS = dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "space")
FAULTS |= {errno.EBADMSG: "damaged", errno.EBUSY: "busy"}  # damaged: a file whose bytes are not those that were sent
# Kept of Python's variables: what decides which packages a person who logs in there finds.
PACKAGES = ("PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONPATH", "PYTHONUSERBASE")
CLEAN = {name: value for name, value in os.environ.items() if name in PACKAGES or not name.startswith("PYTHON")}


class GoneError(Exception):
    """The desk is silent or closed its end: what it asked for must stop."""


def main() -> None:
    """Answer the one request of this connection."""
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(1))  # so that a child is ended on the way out
    try:
        request = json.loads(b"".join(receive(int(b"".join(receive(12))))))
        if (answer := COMMANDS[request["do"]](request)) is not None:
            say(answer)
    except (GoneError, BrokenPipeError):
        sys.exit(1)
    except OSError as cause:
        text = ": ".join(str(part) for part in (cause.filename, cause.strerror or cause) if part)
        say({"fault": FAULTS.get(cause.errno or 0, "system"), "text": text})


def say(answer: dict[str, Any]) -> None:
    """Write the answer's line."""
    sys.stdout.buffer.write(f"{MARK}{json.dumps(answer)}\n".encode())
    sys.stdout.buffer.flush()


def receive(count: int) -> Iterator[bytes]:
    """The next `count` bytes from the desk, piece by piece."""
    while count:
        if not select.select([0], [], [], SILENCE_S)[0]:
            raise GoneError
        piece = os.read(0, min(count, PIECE))
        if not piece:
            raise GoneError
        count -= len(piece)
        yield piece


def root(request: dict[str, Any]) -> Path:
    """The store, made for this user alone."""
    found = Path.home() / Path(request["folder"]).expanduser()
    for name in ("files", "bundles", "scratch"):
        (found / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    return found


@contextlib.contextmanager
def alone(store: Path, wait_s: float) -> Iterator[None]:
    """One at a time: after a cut the old agent may live a little longer, and two programs would time each other."""
    with (store / "lock").open("w") as lock:
        signal.signal(signal.SIGALRM, too_late)
        signal.setitimer(signal.ITIMER_REAL, wait_s)
        fcntl.flock(lock, fcntl.LOCK_EX)
        signal.setitimer(signal.ITIMER_REAL, 0)
        yield


def too_late(*_: Any) -> None:
    """End the wait for the lock."""
    raise OSError(errno.EBUSY, "in use by another program, which may be measuring")


def have(request: dict[str, Any]) -> dict[str, Any]:
    """Which files are here, how many bytes of others, and how many more fit."""
    store = root(request)
    whole, begun = [], {}
    for name in request["files"]:
        file, partial = store / "files" / name, store / "files" / f"{name}.partial"
        if file.exists():
            os.utime(file)  # in use
            whole.append(name)
        elif partial.exists():
            begun[name] = partial.stat().st_size
    return {"whole": whole, "begun": begun, "free": shutil.disk_usage(store).free}


def put(request: dict[str, Any]) -> dict[str, Any]:
    """Files from the desk, each [sha256, bytes here already, bytes in all], whole or as far as the connection lasts."""
    store = root(request)
    with alone(store, request["wait_s"]):
        for name, start, size in request["files"]:
            partial = store / "files" / f"{name}.partial"
            try:
                with partial.open("ab") as file:
                    file.truncate(start)
                    for piece in receive(size - start):
                        file.write(piece)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError:  # a full disk: what has begun takes the room that others need
                partial.unlink(missing_ok=True)
                raise
            check(partial, name, partial.name)
            partial.replace(store / "files" / name)
    return {}


def check(file: Path, expected: str, shown: str) -> None:
    """Unless its sha256 is the expected one, remove the file, so that it is sent again, and raise OSError."""
    got = digest(file)
    if got != expected:
        file.unlink()
        raise OSError(errno.EBADMSG, f"expected sha256 {expected[:12]}, got {got[:12]}", shown)


def digest(file: Path) -> str:
    """sha256 in hexadecimal."""
    found = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(PIECE):
            found.update(block)
    return found.hexdigest()


def place(request: dict[str, Any]) -> dict[str, Any]:
    """Make bundles/NAME from the files of the store, whole or not at all; what was unused for long is dropped."""
    store = root(request)
    with alone(store, request["wait_s"]):
        target = store / "bundles" / request["name"]
        new, old = (target.with_name(f"{target.name}.{what}") for what in ("new", "old"))
        shutil.rmtree(new, ignore_errors=True)
        for path, name in request["files"].items():
            check(store / "files" / name, name, path)
            (new / path).parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(store / "files" / name, new / path)
            except OSError:  # a file system without links
                shutil.copyfile(store / "files" / name, new / path)
        if target.exists():
            target.replace(old)
        new.replace(target)
        shutil.rmtree(old, ignore_errors=True)
        needed = {request["name"], *request["files"].values()}
        for file in (entry for folder in ("files", "bundles", "scratch") for entry in (store / folder).iterdir()):
            if KEEP_S < time.time() - file.stat().st_mtime < UNSET_S and file.name not in needed:
                shutil.rmtree(file) if file.is_dir() else file.unlink()
    return {"folder": str(target)}


def run(request: dict[str, Any]) -> dict[str, Any]:
    """A Python program, ended when the desk goes; what it printed last."""
    store, command = root(request), [sys.executable, *request["arguments"]]
    with alone(store, request["wait_s"]), tempfile.TemporaryDirectory(dir=store / "scratch") as elsewhere:
        out, err = Path(elsewhere, "out"), Path(elsewhere, "err")
        with out.open("wb") as stdout, err.open("wb") as stderr:
            late, code = attend(command, elsewhere, stdout, stderr, request["timeout_s"])
        if out.stat().st_size > PRINTED:
            return {"late": late, "code": code, "out": "", "err": f"printed more than {PRINTED >> 20} MiB"}
        printed = out.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""]
        return {"late": late, "code": code, "out": printed[-1], "err": last_line(err.read_bytes())}


def attend(command: list[str], folder: str, out: IO[bytes], err: IO[bytes], timeout_s: float) -> tuple[bool, int]:
    """Whether a program was stopped for its time, and its exit code; sleeps beside it, so as not to disturb it.

    Raises GoneError when the desk is.
    """
    alive, held = os.pipe()
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=folder, env=CLEAN,
        start_new_session=True, pass_fds=(held,),
    )  # fmt: skip
    os.close(held)  # the child has the other copy, which is closed when it ends
    try:
        late = not ended(alive, timeout_s)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # its children too
        code = child.wait()
    return late, code


def ended(alive: int, timeout_s: float) -> bool:
    """Whether the other end of `alive` was closed in time."""
    ends, heard = time.monotonic() + timeout_s, time.monotonic()
    while (now := time.monotonic()) < ends:
        if now - heard > SILENCE_S:
            raise GoneError
        found = select.select([0, alive], [], [], min(ends - now, SILENCE_S))[0]
        if alive in found:
            return True
        if 0 in found:
            heard = time.monotonic()
            if not os.read(0, PIECE):
                raise GoneError
    return False


def last_line(text: bytes) -> str:
    """The last line that is not empty, of reasonable length."""
    return (text[-PIECE:].decode(errors="replace").strip().splitlines() or [""])[-1][-2000:]


def send(request: dict[str, Any]) -> None:
    """A file to the desk."""
    file = Path(request["file"])
    with file.open("rb") as stream:
        say({"bytes": os.fstat(stream.fileno()).st_size, "sha256": digest(file)})
        shutil.copyfileobj(stream, sys.stdout.buffer, PIECE)
        sys.stdout.buffer.flush()


def scratch(request: dict[str, Any]) -> dict[str, Any]:
    """A new folder for results, or the end of one."""
    folder = root(request) / "scratch" / request["name"]
    shutil.rmtree(folder, ignore_errors=True) if request["remove"] else folder.mkdir(mode=0o700, exist_ok=True)
    return {"folder": str(folder)}


COMMANDS: dict[str, Any] = {work.__name__: work for work in (have, put, place, run, send, scratch)}

if __name__ == "__main__":
    main()
