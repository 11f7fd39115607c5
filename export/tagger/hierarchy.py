"""The levels above each label, from a text file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mlkd.core.labels import Labels

Hierarchy = Mapping[str, tuple[str, ...]]  # a label's path, which ends with it


def read_hierarchy(file: Path, names: Sequence[str]) -> Hierarchy:
    """Read a file with lines such as `animal/pet/cat`: the label last, the levels above it before.

    Empty lines and those that begin with # are skipped.  A label may contain a slash.  A label without a line is its
    own path.

    Raises:
        ValueError: A label is unknown or repeated, or a level is empty.
        OSError: The file cannot be read.
    """
    labels = Labels(tuple(names))
    paths: dict[str, tuple[str, ...]] = {}
    for number, line in _lines(file):
        try:
            path = _path(line, labels)
            if path[-1] in paths:
                raise ValueError(f"label: expected each once, got {path[-1]!r} again; remove one of the lines")
        except ValueError as cause:
            raise ValueError(f"{file}, line {number}: {cause}") from None
        paths[path[-1]] = path
    return {name: paths.get(name, (name,)) for name in names}


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as cause:
        raise ValueError(f"{file}: expected text in UTF-8, got other bytes: {cause}; convert it") from None
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            yield number, line


def _path(line: str, labels: Labels) -> tuple[str, ...]:
    """The levels of a line; the label is the longest end of the line that is one."""
    levels = [level.strip() for level in line.split("/")]
    if not all(levels):
        raise ValueError(f"levels: expected none empty, got {line.strip()!r}")
    for number in range(len(levels)):
        label = "/".join(levels[number:])
        if label in labels.names:
            return *levels[:number], label
    labels.index(levels[-1])
    raise AssertionError("the last level is no label")
