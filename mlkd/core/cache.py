"""Where this project keeps what it can make again: one folder of the user's cache."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

ELSEWHERE = "name another cache in XDG_CACHE_HOME"
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def cache_root() -> Path:
    """The project's folder in $XDG_CACHE_HOME (default ~/.cache); OSError for a user without a home."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if base.is_absolute():
        return base / "edge-tagger"
    try:
        return Path.home() / ".cache/edge-tagger"
    except RuntimeError as cause:
        raise OSError(errno.ENOENT, f"cache: expected a home folder, got: {cause} set HOME, or {ELSEWHERE}") from cause


def private(folder: Path) -> Path:
    """`folder`, below cache_root(), for what is run as code: made, with those above it, for this user alone.

    Raises PermissionError if one of them belongs to another user or others may write it, OSError if it cannot be made.
    """
    root = cache_root()
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in folder.relative_to(root).parts:
        root /= name
        root.mkdir(mode=0o700, exist_ok=True)
        _check(root)
    return folder


def _check(folder: Path) -> None:
    if not hasattr(os, "getuid"):  # Windows, where the user's profile is closed to others
        return
    found = folder.stat()
    if found.st_uid != os.getuid() or found.st_mode & OTHERS_WRITE:
        raise PermissionError(
            errno.EACCES,
            f"{folder}: expected a folder that belongs to user {os.getuid()} and nobody else may write, "
            f"got user {found.st_uid}, mode {stat.S_IMODE(found.st_mode):o}; "
            f"chown it and `chmod go-w` it, or {ELSEWHERE}",
        )
