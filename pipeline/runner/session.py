"""What one session does to a recipe's folder besides its results: holds it, and adds up the time of each stage."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SPENT = "seconds.txt"  # in the folder of an interrupted stage


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; ValueError if another has it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(
                f"{folder}: expected to be the only run of this recipe, got another one at work; "
                "wait until it ends, or stop it"
            ) from None
        yield


def timed(work: Callable[[], None], partial: Path) -> float:
    """Seconds that `work` takes, with those of its earlier sessions in `partial` that an error or Ctrl-C has ended."""
    earlier, started = _spent(partial), time.monotonic()
    try:
        work()
    except BaseException:
        with suppress(OSError):
            (partial / SPENT).write_text(str(earlier + time.monotonic() - started))
        raise
    (partial / SPENT).unlink(missing_ok=True)
    return earlier + time.monotonic() - started


def _spent(partial: Path) -> float:
    try:
        return float((partial / SPENT).read_text())
    except (OSError, ValueError):
        return 0.0
