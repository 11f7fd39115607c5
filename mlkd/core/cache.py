"""The cache folder of this project, for files that can be computed again."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

OTHER_FOLDER = "set XDG_CACHE_HOME to another folder"
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def cache_root() -> Path:
    """The project's folder in $XDG_CACHE_HOME (default ~/.cache).  Raises OSError for a user without a home folder."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if base.is_absolute():
        return base / "edge-tagger"
    try:
        return Path.home() / ".cache/edge-tagger"
    except RuntimeError as cause:
        raise OSError(
            errno.ENOENT, f"cache: expected a home folder, got: {cause} set HOME, or {OTHER_FOLDER}"
        ) from cause


def private(folder: Path) -> Path:
    """Create `folder`, below cache_root(), and its parents so that only this user may write: its files run as code.

    Raises PermissionError if one of the folders belongs to another user, or others may write to it.
    """
    root = cache_root()
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in folder.relative_to(root).parts:
        root /= name
        root.mkdir(mode=0o700, exist_ok=True)
        _check(root)
    return folder


def _check(folder: Path) -> None:
    if not hasattr(os, "getuid"):  # Windows, where other users cannot write to the profile
        return
    status = folder.stat()
    if status.st_uid != os.getuid() or status.st_mode & OTHERS_WRITE:
        raise PermissionError(
            errno.EACCES,
            f"{folder}: expected a folder that belongs to user {os.getuid()} and that others may not write, "
            f"got user {status.st_uid}, mode {stat.S_IMODE(status.st_mode):o}; "
            f"chown it and `chmod go-w` it, or {OTHER_FOLDER}",
        )
