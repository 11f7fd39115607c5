"""The lock on a recipe's folder, and the time of a stage over several sessions."""

from __future__ import annotations

import fcntl
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

LOCK = ".lock"  # in the folder of a recipe
SPENT = "seconds.txt"  # in the folder of an interrupted stage


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock the folder for this process, which ends with it.

    Raises ValueError that names the process which holds the lock: its number, its machine, and since when.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise ValueError(
                f"{folder}: expected no other run of this recipe, got {file.read().strip() or 'one in progress'}; "
                "wait until it ends, or interrupt it"
            ) from None
        with suppress(OSError):  # a full disk; it only serves a message
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()} since {datetime.now():%Y-%m-%d %H:%M:%S}\n")
            file.flush()
        yield


def timed(work: Callable[[], None], partial: Path) -> float:
    """Run `work` and return its seconds, plus those of earlier sessions in `partial` that were interrupted."""
    earlier, started = spent(partial), time.monotonic()
    try:
        work()
    except BaseException:
        with suppress(OSError):
            (partial / SPENT).write_text(str(earlier + time.monotonic() - started))
        raise
    (partial / SPENT).unlink(missing_ok=True)
    return earlier + time.monotonic() - started


def spent(partial: Path) -> float:
    """Return the seconds of the sessions in `partial` that were interrupted."""
    try:
        return float((partial / SPENT).read_text())
    except (OSError, ValueError):
        return 0.0
