"""The functions that an ssh call runs on a device: one file, Python 3.10, standard library only.

The source travels with every call.  Standard input has the files for `place`, and for `run` a byte every few seconds
while the caller lives.
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
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

FAULT, LATE, LOST = 123, 124, 255  # exit codes: an error of the system, a program past its time, as ssh's own
PIECE = 1 << 20  # bytes read at a time
SILENCE_S = 60.0  # without a byte from the caller
UNUSED_S, CLOCK_UNSET_S = 30 * 86400.0, 20 * 365 * 86400.0  # remove what is older; still older: the clock was not set
FAULTS = dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "space")
FAULTS |= {errno.EBADMSG: "input", errno.EBUSY: "busy"}
# Python's variables that decide which packages a person who logs in there gets; no other is passed on.
PACKAGES = ("PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONPATH", "PYTHONUSERBASE")


def answer(function: Callable[..., Mapping[str, Any]], arguments: Mapping[str, Any]) -> None:
    """Print what a function returns, or what the system refuses, as a line of JSON."""
    try:
        result, code = function(**arguments), 0
    except OSError as cause:
        text = ": ".join(str(part) for part in (cause.filename, cause.strerror or cause) if part)
        result, code = {"fault": FAULTS.get(cause.errno or 0, "system"), "text": text}, FAULT
    sys.stdout.write(json.dumps(result))
    sys.exit(code)


@contextlib.contextmanager
def locked_store(folder: str, wait_s: float) -> Iterator[Path]:
    """The folder of all files here, for this user alone; one command at a time, or they would disturb each other."""
    store = Path.home() / Path(folder).expanduser()
    (store / "files").mkdir(mode=0o700, parents=True, exist_ok=True)
    with (store / "lock").open("w") as lock:
        signal.signal(signal.SIGALRM, stop_waiting)
        signal.setitimer(signal.ITIMER_REAL, wait_s)
        fcntl.flock(lock, fcntl.LOCK_EX)
        signal.setitimer(signal.ITIMER_REAL, 0)
        yield store


def stop_waiting(*_: Any) -> None:
    """End the wait for the lock."""
    raise OSError(errno.EBUSY, "in use by another program, which may be measuring")


def read(most: int) -> bytes:
    """The next bytes from the caller, b"" at their end; ends this program if the caller is silent."""
    if not select.select([0], [], [], SILENCE_S)[0]:
        sys.exit(LOST)
    return os.read(0, min(most, PIECE))


def place(
    folder: str, wait_s: float, target: str, files: Mapping[str, str], sent: Sequence[tuple[str, int, int]]
) -> dict[str, Any]:
    """Make the folder `target` of files {path: sha256}, complete or not at all, after those that are `sent`.

    Args:
        sent: sha256, first byte and size of the files whose ends follow each other on standard input.

    Returns:
        Its path as `folder`; or `missing` files, {sha256: bytes that are here}, and the bytes that are `free`.
    """
    with locked_store(folder, wait_s) as store:
        for name, start, size in sent:
            receive(store / "files" / name, start, size)
        begun = {name: bytes_begun(store / "files" / name) for name in set(files.values())}
        missing = {name: count for name, count in begun.items() if count is not None}
        if missing:
            return {"missing": missing, "free": shutil.disk_usage(store).free}
        link_files(files, store, store / target)
        for file in store.glob("*/*"):
            unused = UNUSED_S < time.time() - file.stat().st_mtime < CLOCK_UNSET_S
            if unused and file != store / target and file.name not in begun:
                shutil.rmtree(file) if file.is_dir() else file.unlink()
        return {"folder": str(store / target)}


def receive(file: Path, start: int, size: int) -> None:
    """Write a file from byte `start` on; what has arrived stays if the connection breaks, but not on a full disk."""
    partial = file.with_suffix(".partial")
    try:
        with partial.open("ab") as stream:
            stream.truncate(start)
            while start < size and (piece := read(size - start)):
                start += stream.write(piece)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    if start < size:
        raise OSError(errno.EBADMSG, f"{start} of {size} bytes")
    partial.replace(file)


def link_files(files: Mapping[str, str], store: Path, target: Path) -> None:
    """Make the target folder of files in the store."""
    new = target.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700, parents=True)
    for path, name in files.items():
        (new / path).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(store / "files" / name, new / path)
        except OSError:  # a file system without links
            shutil.copyfile(store / "files" / name, new / path)
    shutil.rmtree(target, ignore_errors=True)
    new.replace(target)


def bytes_begun(file: Path) -> int | None:
    """None if a file has the sha256 that it is called by; else it is removed, and a copy that was begun counts."""
    if file.exists():
        digest = hashlib.sha256()
        with file.open("rb") as stream:
            while piece := stream.read(PIECE):
                digest.update(piece)
        if digest.hexdigest() == file.name:
            os.utime(file)  # in use
            return None
        file.unlink()
    partial = file.with_suffix(".partial")
    return partial.stat().st_size if partial.exists() else 0


def run(folder: str, wait_s: float, arguments: Sequence[str], timeout_s: float) -> dict[str, Any]:
    """Run Python with arguments, killed after `timeout_s` or when the caller goes; exits with its exit code."""
    if arguments[0].startswith("~"):
        arguments = list(map(os.path.expanduser, arguments))
    kept = {name: value for name, value in os.environ.items() if name in PACKAGES or not name.startswith("PYTHON")}
    alive, inherited = os.pipe()  # closed when the program ends
    with locked_store(folder, wait_s):
        child = subprocess.Popen(
            [sys.executable, *arguments], stdin=subprocess.DEVNULL, cwd=os.sep, env=kept, start_new_session=True,
            pass_fds=[inherited],
        )  # fmt: skip
        os.close(inherited)
        try:
            in_time = ends_in_time(alive, timeout_s)
        finally:
            os.killpg(child.pid, signal.SIGKILL)  # its children too
            code = child.wait()
    sys.exit(LATE if not in_time else min(code, 254) if code >= 0 else 128 - code)


def ends_in_time(alive: int, timeout_s: float) -> bool:
    """Whether the other end of `alive` is closed in time; sleeps meanwhile, so as not to disturb a measurement."""
    deadline = time.monotonic() + timeout_s
    while (left_s := deadline - time.monotonic()) > 0:
        ready = select.select([0, alive], [], [], min(left_s, SILENCE_S))[0]
        if alive in ready:
            return True
        if (ready and not read(PIECE)) or (not ready and left_s > SILENCE_S):
            sys.exit(LOST)
    return False
