"""Names labels: replaces numbers by names from a file, and merges labels that differ only in spelling."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlkd.data.base import normal_spelling
from mlkd.data.sources.cells import read_lines
from mlkd.data.sources.rows import Row

NUMBERED = re.compile(r"\s*(-?\d+)\s*[\s,;:=\t]\s*(\S.*)")
REVERSED = re.compile(r"(.*\S)\s*[,;:=\t]\s*(-?\d+)\s*")


def replace_numbers(rows: Sequence[Row], order: Sequence[str], file: Path) -> tuple[list[Row], list[str]]:
    """Replace numbers by names from a file; returns the rows and the names in the file's order.

    `order` are more labels that need a name.  Raises ValueError if a label has none.
    """
    used = {tag for row in rows for tag in row.tags + row.unknown} | set(order)
    names = _names(file, used)
    unknown = sorted(tag for tag in used if _number(tag) not in names and tag not in names.values())
    if unknown:
        raise ValueError(
            f"{file}: expected a name for every label, got none for {', '.join(unknown[:10])}; set "
            "label_names: FILE for a file with lines 'NUMBER NAME'"
        )

    def renamed(tags: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(names.get(_number(tag), tag) for tag in tags)

    renamed_rows = [replace(row, tags=renamed(row.tags), unknown=renamed(row.unknown)) for row in rows]
    return renamed_rows, list(dict.fromkeys(names.values()))


def read_names(file: Path) -> dict[str, str] | list[str]:
    """Read names by number, or a list of names: JSON, `NUMBER NAME` or `NAME,NUMBER` lines, or one name a line."""
    if not file.is_file():
        raise ValueError(f"label_names: expected a file, got nothing at {file}; set label_names: FILE")
    lines = read_lines(file)
    if file.suffix.lower() == ".json":
        return _json_names(file, "\n".join(lines))
    texts = [line.strip() for line in lines if line.strip()]
    for pattern, number, name in ((NUMBERED, 1, 2), (REVERSED, 2, 1)):
        lines_matched = [pattern.fullmatch(text) for text in texts]
        matches = [match for match in lines_matched if match]
        # The first line may be a header.
        if matches and len(matches) >= len(texts) - 1 and (lines_matched[0] is None or all(lines_matched)):
            return _distinct(file, [(_number(match[number]), match[name].strip().strip('"')) for match in matches])
    return texts


def _number(tag: str) -> str:
    """Remove leading zeros: 007 is 7."""
    return str(int(tag)) if re.fullmatch(r"-?\d{1,18}", tag) else tag


def _names(file: Path, used: set[str]) -> Mapping[str, str]:
    names = read_names(file)
    if isinstance(names, dict):
        return names
    numbers = [int(tag) for tag in used if re.fullmatch(r"-?\d{1,18}", tag)]
    if not numbers:
        return {name: name for name in names}
    firsts = [first for first in (0, 1) if min(numbers) >= first and max(numbers) < first + len(names)]
    if len(firsts) != 1:
        raise ValueError(
            f"{file}: expected a list of names for the numbers {min(numbers)} to {max(numbers)} from 0 or from 1, "
            f"got {len(names)} names; write a file with 'NUMBER NAME' lines and set label_names: FILE"
        )
    return {str(number): name for number, name in enumerate(names, start=firsts[0])}


def _json_names(file: Path, text: str) -> dict[str, str] | list[str]:
    try:
        tree: Any = json.loads(text)
    except (ValueError, RecursionError) as cause:
        raise ValueError(f"{file}: expected JSON, got {cause}; set label_names: FILE for another file") from None
    if isinstance(tree, list) and all(isinstance(name, str) for name in tree):
        return tree
    if isinstance(tree, dict) and all(isinstance(name, str) for name in tree.values()):
        return _distinct(file, [(_number(key), name) for key, name in tree.items()])
    if isinstance(tree, dict) and all(isinstance(number, int) for number in tree.values()):
        return _distinct(file, [(str(number), name) for name, number in tree.items()])
    raise ValueError(f'{file}: expected ["name", …] or {{"number": "name", …}}; set label_names: FILE for another file')


def _distinct(file: Path, pairs: list[tuple[str, str]]) -> dict[str, str]:
    names = dict(pairs)
    if len(names) < len(pairs):
        raise ValueError(f"{file}: expected every number once, got some repeatedly; set label_names: FILE for another")
    return names


def merge_spellings(rows: Sequence[Row], *, merge: bool) -> tuple[list[Row], tuple[str, ...]]:
    """Merge labels that differ only in case, spaces or Unicode form if `merge`, else return a warning."""
    counts = Counter(tag for row in rows for tag in row.tags + row.unknown)
    by_spelling: dict[str, list[str]] = {}
    for name, _ in counts.most_common():
        by_spelling.setdefault(normal_spelling(name), []).append(name)
    groups = [names for names in by_spelling.values() if len(names) > 1]
    if not groups:
        return list(rows), ()
    shown = "; ".join(", ".join(f"{name!r} {counts[name]}" for name in names) for names in groups[:10])
    if not merge:
        return list(rows), (
            f"labels that differ only in case, spaces or Unicode form: {shown}; set merge_labels: true",
        )
    first = {name: names[0] for names in groups for name in names}

    def respell(tags: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(first.get(tag, tag) for tag in tags))

    respelled = [replace(row, tags=respell(row.tags), unknown=respell(row.unknown)) for row in rows]
    consistent = [replace(row, unknown=tuple(set(row.unknown) - set(row.tags))) for row in respelled]
    return consistent, (f"labels merged: {shown}",)
