"""Reproducible zip archives."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold
UNIX, PLAIN_FILE = 3, 0o100644 << 16


def write_archive(out: Path | BinaryIO, entries: Iterable[tuple[str, bytes]]) -> None:
    """Write names and contents in their order, uncompressed: equal entries give equal bytes."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries:
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.create_system, entry.external_attr = UNIX, PLAIN_FILE
            archive.writestr(entry, content)
