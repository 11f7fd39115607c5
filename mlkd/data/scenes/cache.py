"""Where the fetched image packages lie: one folder of the user's cache, filled by `python -m pipeline fetch`."""

from __future__ import annotations

from pathlib import Path

from mlkd.core.cache import cache_root


def images_root() -> Path:
    """Root of the unpacked image packages; may not exist yet."""
    return cache_root() / "pictures"


def fetched_images() -> Path:
    """Like images_root, but raises ValueError when nothing was fetched."""
    root = images_root()
    if not root.is_dir():
        raise ValueError(
            f"images: expected the unpacked packages in {root}, got nothing; run `python -m pipeline fetch`"
        )
    return root
