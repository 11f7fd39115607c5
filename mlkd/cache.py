"""Where this project keeps what it can make again: one folder of the user's cache."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """The project's folder in $XDG_CACHE_HOME (default ~/.cache)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "edge-tagger"
