"""Finds images in folders that are new or changed, and that nobody writes to any more."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from export.tagger.inputs import natural, walk
from export.tagger.watch_state import Version, WatchState, version_of
from mlkd.core.image_kinds import NAMED, SUFFIXES, image_files, unread_images
from mlkd.core.images import UnreadableImageError

SUFFIXES_TO_WATCH = frozenset((*NAMED, ""))
SPARE = 100  # images that are gone, and remembered all the same


class Found(NamedTuple):
    """What a scan found: images to tag with their versions, and errors by folder that were not reported before."""

    images: dict[Path, Version]
    failed: list[tuple[str, UnreadableImageError]]


class Watcher:
    """Scans folders with all folders below them; not thread-safe.

    An image has to be tagged until `done` is called for its version.  A version is size and modification time.
    """

    def __init__(self, folders: Sequence[str], state: WatchState) -> None:
        self.folders = [os.path.abspath(folder) for folder in folders]  # noqa: PTH100  (removes .. without following links)
        self._state = state
        self._waiting: dict[str, Version] = {}
        self._skipped: dict[str, Version] = {}
        self._reported: set[tuple[str, str]] = set()

    def scan(self) -> Found:
        """Find new images; those whose size or time has changed since the scan before are left to the next one."""
        failed: list[tuple[str, UnreadableImageError]] = []
        present = self._present(failed)
        if present and not failed and len(self._state) > 2 * len(present) + SPARE:
            self._state.keep(present)
        self._skipped = {path: version for path, version in self._skipped.items() if present.get(path) == version}
        new = {path: v for path, v in present.items() if path not in self._skipped and not self._state.has(path, v)}
        ready = sorted((Path(path) for path, v in new.items() if self._waiting.get(path) == v), key=natural)
        self._waiting = new
        images, unread = image_files(ready)
        self._skipped |= {str(path): new[str(path)] for path in set(ready) - set(images)}
        failed += [self._unread(suffix, count) for suffix, count in sorted(unread.items())]
        return Found({path: new[str(path)] for path in images}, [error for error in failed if self._is_new(*error)])

    def done(self, image: Path, version: Version, *, remember: bool = True) -> None:
        """Do not return this version again; without `remember`, only until the program ends."""
        if remember:
            self._state.add(str(image), version)
        else:
            self._skipped[str(image)] = version

    def _present(self, failed: list[tuple[str, UnreadableImageError]]) -> dict[str, Version]:
        present = {}
        for folder in self.folders:
            for entry in walk(folder, failed):
                if os.path.splitext(entry.name)[1].lower() in SUFFIXES_TO_WATCH:  # noqa: PTH122  (ten times as fast)
                    with contextlib.suppress(OSError):  # it is gone, or a link to nothing
                        status = entry.stat()
                        if stat.S_ISREG(status.st_mode):
                            present[entry.path] = version_of(status)
        return present

    def _unread(self, suffix: str, count: int) -> tuple[str, UnreadableImageError]:
        return suffix, UnreadableImageError(f"expected {', '.join(SUFFIXES)}, got {unread_images({suffix: count})}")

    def _is_new(self, name: str, cause: UnreadableImageError) -> bool:
        key = (name, "" if name in NAMED else str(cause))
        is_new = key not in self._reported
        self._reported.add(key)
        return is_new
