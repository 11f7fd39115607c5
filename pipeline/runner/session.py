"""The lock on a recipe's folder, and the time of a stage over several sessions."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from mlkd.core.locks import claimed

LOCK = ".lock"  # in the folder of a recipe
SPENT = "seconds.txt"  # in the folder of an interrupted stage


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock the folder for this process, which ends with it.

    Raises ValueError that names the process which holds the lock: its number, its machine, and since when.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / LOCK
    with claimed(file) as is_ours:
        if not is_ours:
            holder = file.read_text(encoding="utf-8").strip() or "one in progress"
            raise ValueError(
                f"{folder}: expected no other run of this recipe, got {holder}; wait until it ends, or interrupt it"
            )
        with suppress(OSError):  # a full disk; it only serves a message
            started = f"{datetime.now():%Y-%m-%d %H:%M:%S}"
            file.write_text(f"process {os.getpid()} on {platform.node()} since {started}\n", encoding="utf-8")
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
