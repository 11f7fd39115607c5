"""Folders that are made once for all test processes."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

Once = Callable[[str, Callable[[Path], object]], Path]


def once_in(factory: pytest.TempPathFactory) -> Once:
    """Return a function that returns the folder of a name; the first process that asks for it fills it."""
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def once(name: str, make: Callable[[Path], object]) -> Path:
        folder = shared / name
        with (shared / f"{name}.made").open("a+") as made:
            fcntl.flock(made, fcntl.LOCK_EX)
            if made.seek(0, os.SEEK_END) == 0:  # nobody has written while this process waited
                folder.mkdir()
                make(folder)
                made.write("made")
        return folder

    return once
