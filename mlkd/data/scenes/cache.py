"""Where the fetched picture packages lie: one folder of the user's cache, filled by `python -m pipeline fetch`."""

from __future__ import annotations

from pathlib import Path

from mlkd.core.cache import cache_root


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
