"""Which files are byte for byte the same."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path


def group_copies(files: Mapping[str, Path]) -> dict[str, str]:
    """By name, the name of the first of all files with the same bytes.  Only files of the same size are read."""
    of_size: defaultdict[int, list[str]] = defaultdict(list)
    for name, file in files.items():
        of_size[file.stat().st_size].append(name)
    first: dict[str, str] = {}
    for names in of_size.values():
        of_content: dict[str, str] = {}
        for name in names:
            content = hashlib.sha256(files[name].read_bytes()).hexdigest() if len(names) > 1 else ""
            first[name] = of_content.setdefault(content, name)
    return first
