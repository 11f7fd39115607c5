"""Raw files of teacher outputs: written view by view, each view with its hash, so that a damaged one is found."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mlkd.core.files import sha256_of
from mlkd.teachers.cache import ABOUT, read_about

log = logging.getLogger(__name__)
Part = dict[str, Any]  # of one file in one view: `end` in bytes, and `sha256` of the part


class RawFiles:
    """Files to append to, in `out`; what follows the views that were `written`, of an interrupted run, is cut off."""

    def __init__(self, out: Path, written: Sequence[Mapping[str, Part]], stack: ExitStack) -> None:
        self._out, self._written, self._stack = out, [dict(view) for view in written], stack
        self._open: dict[str, BinaryIO] = {}
        self._digests: dict[str, Any] = {}

    def append(self, name: str, values: NDArray[Any]) -> None:
        """Append an array to the file `name`.  Raises OSError when the disk is full."""
        if name not in self._open:
            self._open[name] = self._stack.enter_context(raw_file(self._out, name).open("ab"))
            self._open[name].truncate(self._written[-1][name]["end"] if self._written else 0)
            self._digests[name] = hashlib.sha256()
        content = np.ascontiguousarray(values).data
        self._open[name].write(content)
        self._digests[name].update(content)

    def flush(self) -> list[dict[str, Part]]:
        """Force all files to the disk; returns the parts of every view by file, this one being the last."""
        for file in self._open.values():
            file.flush()
            os.fsync(file.fileno())
        view = {
            name: {"end": os.fstat(file.fileno()).st_size, "sha256": self._digests[name].hexdigest()}
            for name, file in self._open.items()
        }
        return [*self._written, view]


def raw_file(folder: Path, name: str) -> Path:
    """The path of a file by its name."""
    return folder / f"{name}.raw"


def discard_damaged(folders: Sequence[Path]) -> None:
    """Forget the views of an interrupted run where one is not as it was written; a warning names the file."""
    for folder in folders:
        if damaged := _damaged(folder):
            fault = "expected the outputs that were written, got others; they are computed again"
            log.warning("%s: %s", folder / damaged, fault)
            (folder / ABOUT).unlink()


def _damaged(folder: Path) -> str | None:
    """The name of the first damaged file; None if all views are as they were written, or there is none."""
    ends: dict[str, int] = {}
    try:
        about = read_about(folder)
        written = about.get("views_written", [])
        if len(written) != about.get("done", 0):
            return ABOUT
        for name, part in ((name, view[name]) for view in written for name in view):
            file = raw_file(folder, name)
            if not file.is_file() or sha256_of(file, ends.get(name, 0), part["end"]) != part["sha256"]:
                return file.name
            ends[name] = part["end"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ABOUT
    return None
