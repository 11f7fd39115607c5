"""The environment of child processes, and interrupts that are never lost.

The import of a C extension may turn KeyboardInterrupt into another exception.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# The variables that decide which packages Python finds; its other variables are not passed to a child process.
PACKAGES = ("PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONPATH", "PYTHONUSERBASE")

_received: list[int] = []


def note_interrupts() -> None:
    """Record each SIGINT before KeyboardInterrupt is raised; a process that ignores SIGINT still does."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def raise_interrupt() -> None:
    """Raise KeyboardInterrupt if SIGINT was received; call it where other exceptions are caught."""
    if _received:
        raise KeyboardInterrupt


class TerminatedError(KeyboardInterrupt):
    """SIGTERM was received."""


@contextmanager
def interrupted_by_terminate() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, by TerminatedError; forked children die of it as always."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    owner = os.getpid()

    def terminate(number: int, _: FrameType | None) -> None:
        if os.getpid() != owner:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        raise TerminatedError

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def child_environment() -> dict[str, str]:
    """Environment variables with which a child process finds the same packages, in any working folder."""
    variables = {k: value for k, value in os.environ.items() if k in PACKAGES or not k.startswith("PYTHON")}
    if "PYTHONPATH" in variables:
        variables["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, variables["PYTHONPATH"].split(os.pathsep)))
    return variables


def _interrupt(number: int, _: FrameType | None) -> None:
    _received.append(number)
    raise KeyboardInterrupt
