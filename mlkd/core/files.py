"""Files that are complete or absent, also after a crash; their hashes; arrays that are written through a memory map."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike

BLOCK_BYTES = 1 << 20


def write_file(path: Path, content: str | bytes) -> None:
    """Replace `path` atomically: the new file is on the disk before it gets its name; a failed write leaves nothing.

    If several processes or threads write at once, the content of the last one stays.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    fsync(path.parent)


def fsync(path: Path) -> None:
    """Force a file or a folder to the disk; some file systems cannot do that for a folder."""
    with contextlib.suppress(OSError) if path.is_dir() else contextlib.nullcontext():
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sha256_of(file: Path, start: int = 0, end: int | None = None) -> str:
    """SHA-256 of the content of a file, or of its bytes from `start` to before `end`, in hexadecimal."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        stream.seek(start)
        while block := stream.read(BLOCK_BYTES if end is None else min(BLOCK_BYTES, end - stream.tell())):
            digest.update(block)
    return digest.hexdigest()


def create_array(file: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """A writable memory map of a new .npy file, filled with zeros.

    The disk space is allocated at once: a full disk raises OSError here, where a write through the map would end the
    process with SIGBUS.
    """
    import numpy as np

    mapped: np.memmap[Any, Any] = np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, max(1, file.stat().st_size))
    return mapped
