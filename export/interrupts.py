"""An interrupt that is never lost: the import of a C extension may turn KeyboardInterrupt into another error."""

from __future__ import annotations

import signal
from types import FrameType

_noted: list[int] = []


def install() -> None:
    """Note every SIGINT before KeyboardInterrupt is raised; one that the process ignores stays ignored."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def check() -> None:
    """Raise KeyboardInterrupt if an interrupt came: to be called where any other error is caught."""
    if _noted:
        raise KeyboardInterrupt


def _interrupt(number: int, _: FrameType | None) -> None:
    _noted.append(number)
    raise KeyboardInterrupt
