"""Temporary files of a command and of what it starts are in one folder, which the next command removes after a kill."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mlkd.core.locks import claimed, locked

PREFIX = "edge-tagger-run-"
LONGEST = 103 - len("/pymp-12345678/listener-12345678")  # bytes; paths of sockets may have 103 on macOS, 107 on Linux
SHORT = Path("/tmp")
LOCK = ".lock"  # in the folder; locked while the command runs, also for processes that see other process numbers


@contextlib.contextmanager
def own_temporary_folder() -> Iterator[None]:
    """Set TMPDIR to a folder that is removed at the end; nothing is changed where none can be made.

    Where its path is too long for the sockets of multiprocessing, they are below /tmp; Python does so from 3.14 on.
    """
    base = Path(tempfile.gettempdir())
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(_own_folder(base))
            if len(os.fsencode(folder)) > LONGEST:
                stack.enter_context(_sockets_in(stack.enter_context(_own_folder(SHORT))))
        except OSError:  # a full disk must not keep `plan` from running
            yield
            return
        before = os.environ.get("TMPDIR"), tempfile.tempdir
        stack.callback(_set, *before)
        # torch keeps what it compiled there from run to run
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(base / f"torchinductor_{getpass.getuser()}"))
        _set(str(folder), str(folder))
        yield


@contextlib.contextmanager
def _own_folder(base: Path) -> Iterator[Path]:
    """Make a folder in `base`, and remove those of commands that were killed."""
    _remove_left(base)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
    try:
        with locked(folder / "starting"):
            (folder / "starting").rename(folder / LOCK)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _sockets_in(folder: Path) -> Iterator[None]:
    """Let multiprocessing, in this process and its children, put its sockets into a folder."""
    import multiprocessing  # takes time, and few paths are long

    config = multiprocessing.current_process()._config  # type: ignore[attr-defined]
    before = config.get("tempdir")
    config["tempdir"] = str(folder)
    try:
        yield
    finally:
        config["tempdir"] = before


def _set(variable: str | None, default: str | None) -> None:
    if variable is None:
        os.environ.pop("TMPDIR", None)
    else:
        os.environ["TMPDIR"] = variable
    tempfile.tempdir = default


def _remove_left(base: Path) -> None:
    """Remove the folders of commands that were killed."""
    for lock in base.glob(f"{PREFIX}*/{LOCK}"):
        with contextlib.suppress(OSError), claimed(lock) as is_left:  # that of another user cannot be opened
            if is_left:
                shutil.rmtree(lock.parent, ignore_errors=True)
