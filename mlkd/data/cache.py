"""Where the fetched picture packages lie: one folder of the user's cache, filled by `python -m pipeline fetch`."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """The project's folder in $XDG_CACHE_HOME (default ~/.cache)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "edge-tagger"


def pictures_root() -> Path:
    """Root of the unpacked picture packages; may not exist yet."""
    return cache_root() / "pictures"


def fetched_pictures() -> Path:
    """Like pictures_root, but raises ValueError when nothing was fetched."""
    root = pictures_root()
    if not root.is_dir():
        raise ValueError(
            f"pictures: expected the unpacked packages in {root}, got nothing; run `python -m pipeline fetch`"
        )
    return root
