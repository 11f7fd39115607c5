"""Child processes that find the same packages, and interrupts that are never lost.

The import of a C extension may turn KeyboardInterrupt into another error.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

# What decides which packages Python finds; all else of its variables is not for a child process.
PACKAGES = ("PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONPATH", "PYTHONUSERBASE")

_noted: list[int] = []


def note_interrupts() -> None:
    """Note every SIGINT before KeyboardInterrupt is raised; one that the process ignores stays ignored."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def raise_interrupt() -> None:
    """Raise KeyboardInterrupt if an interrupt came: to be called where any other error is caught."""
    if _noted:
        raise KeyboardInterrupt


def child_environment() -> dict[str, str]:
    """Environment variables with which a child process finds the same packages, in whichever folder it starts."""
    kept = {name: value for name, value in os.environ.items() if name in PACKAGES or not name.startswith("PYTHON")}
    if "PYTHONPATH" in kept:
        kept["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, kept["PYTHONPATH"].split(os.pathsep)))
    return kept


def _interrupt(number: int, _: FrameType | None) -> None:
    _noted.append(number)
    raise KeyboardInterrupt
