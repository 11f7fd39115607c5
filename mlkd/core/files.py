"""Files that are whole or absent, whenever the process is killed."""

from __future__ import annotations

import os
import threading
from pathlib import Path


def write(path: Path, content: bytes) -> None:
    """Replace `path` by a file that is complete on disk before it gets its name; a failed write leaves nothing.

    Of several that write at once, the last one's content stays.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
