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
LOCK = ".lock"  # in the folder; locked while the command runs, also for processes that see other process numbers


@contextlib.contextmanager
def own_temporary_folder() -> Iterator[None]:
    """Set TMPDIR to a folder that is removed at the end; nothing is changed where none can be made."""
    base = Path(tempfile.gettempdir())
    _remove_left(base)
    with contextlib.ExitStack() as stack:
        try:
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            stack.enter_context(locked(folder / "starting"))
            (folder / "starting").rename(folder / LOCK)
        except OSError:  # a full disk must not keep `plan` from running
            yield
            return
        before = os.environ.get("TMPDIR"), tempfile.tempdir
        stack.callback(_set, *before)
        # torch keeps what it compiled there from run to run
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(base / f"torchinductor_{getpass.getuser()}"))
        _set(str(folder), str(folder))
        yield


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
