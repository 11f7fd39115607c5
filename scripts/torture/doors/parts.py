"""Several files in one content, so that one mutation reaches them all."""

from __future__ import annotations

from pathlib import Path

BETWEEN = b"\n====\n"


def write_parts(content: bytes, folder: Path, *names: str) -> int:
    """Write the parts of a content to files of these names below the folder; returns how many parts there were.

    A part that is missing gives no file; the last name takes all that is left.
    """
    parts = content.split(BETWEEN, len(names) - 1)
    for name, part in zip(names, parts, strict=False):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(part)
    return len(parts)
