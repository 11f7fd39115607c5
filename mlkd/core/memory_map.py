"""New .npy files that are filled through a memory map."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike


def create(file: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """A writable map of the new file, filled with zeros.

    Its room on the disk is taken at once: a full disk is an OSError here, where writing through the map would end the
    process with SIGBUS.
    """
    mapped: np.memmap[Any, Any] = np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, max(1, file.stat().st_size))
    return mapped
