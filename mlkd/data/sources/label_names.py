"""What labels are called: a file with the names of numbers, and labels that differ only in their spelling."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlkd.data.sources.cells import read_lines
from mlkd.data.sources.rows import Row

NUMBERED = re.compile(r"\s*(-?\d+)\s*[\s,;:=\t]\s*(\S.*)")
REVERSED = re.compile(r"(.*\S)\s*[,;:=\t]\s*(-?\d+)\s*")


def named(rows: Sequence[Row], order: Sequence[str], file: Path) -> tuple[list[Row], list[str]]:
    """Rows with names in place of numbers, and the names in the file's order.  Raises ValueError."""
    used = {tag for row in rows for tag in row.tags + row.unknown} | set(order)
    names = _names(file, used)
    unknown = sorted(tag for tag in used if _number(tag) not in names and tag not in names.values())
    if unknown:
        raise ValueError(
            f"{file}: expected a name for every label, got none for {', '.join(unknown[:10])}; say "
            "label_names: FILE for a file with lines 'NUMBER NAME'"
        )

    def renamed(tags: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(names.get(_number(tag), tag) for tag in tags)

    renamed_rows = [replace(row, tags=renamed(row.tags), unknown=renamed(row.unknown)) for row in rows]
    return renamed_rows, list(dict.fromkeys(names.values()))


def read_names(file: Path) -> dict[str, str] | list[str]:
    """Names by number, or a list of names: JSON, `NUMBER NAME` or `NAME,NUMBER` lines, or a name a line."""
    if not file.is_file():
        raise ValueError(f"label_names: expected a file, got nothing at {file}; say label_names: FILE")
    lines = read_lines(file)
    if file.suffix.lower() == ".json":
        return _json_names(file, "\n".join(lines))
    texts = [line.strip() for line in lines if line.strip()]
    for pattern, number, name in ((NUMBERED, 1, 2), (REVERSED, 2, 1)):
        found = [pattern.fullmatch(text) for text in texts]
        matches = [match for match in found if match]
        if matches and len(matches) >= len(texts) - 1 and (found[0] is None or all(found)):  # a header is left out
            return _distinct(file, [(_number(one[number]), one[name].strip().strip('"')) for one in matches])
    return texts


def _number(tag: str) -> str:
    """007 is 7."""
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
            f"got {len(names)} names; write a file with 'NUMBER NAME' lines and say label_names: FILE"
        )
    return {str(number): name for number, name in enumerate(names, start=firsts[0])}


def _json_names(file: Path, text: str) -> dict[str, str] | list[str]:
    try:
        tree: Any = json.loads(text)
    except (ValueError, RecursionError) as cause:
        raise ValueError(f"{file}: expected JSON, got {cause}; say label_names: FILE for another file") from None
    if isinstance(tree, list) and all(isinstance(name, str) for name in tree):
        return tree
    if isinstance(tree, dict) and all(isinstance(name, str) for name in tree.values()):
        return _distinct(file, [(_number(key), name) for key, name in tree.items()])
    if isinstance(tree, dict) and all(isinstance(number, int) for number in tree.values()):
        return _distinct(file, [(str(number), name) for name, number in tree.items()])
    raise ValueError(f'{file}: expected ["name", …] or {{"number": "name", …}}; say label_names: FILE for another file')


def _distinct(file: Path, pairs: list[tuple[str, str]]) -> dict[str, str]:
    names = dict(pairs)
    if len(names) < len(pairs):
        raise ValueError(f"{file}: expected every number once, got some more often; say label_names: FILE for another")
    return names


def merged(rows: Sequence[Row], *, merge: bool) -> tuple[list[Row], tuple[str, ...]]:
    """Rows in which labels of equal letters are one, by the most frequent spelling; else they are warned of."""
    counts = Counter(tag for row in rows for tag in row.tags + row.unknown)
    alike: dict[str, list[str]] = {}
    for name, _ in counts.most_common():
        alike.setdefault(_letters(name), []).append(name)
    groups = [names for names in alike.values() if len(names) > 1]
    if not groups:
        return list(rows), ()
    shown = "; ".join(", ".join(f"{name!r} {counts[name]}" for name in names) for names in groups[:10])
    if not merge:
        return list(rows), (
            f"labels that differ only in case, spaces or Unicode form: {shown}; say merge_labels: true",
        )
    first = {name: names[0] for names in groups for name in names}

    def one(tags: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(first.get(tag, tag) for tag in tags))

    joined = [replace(row, tags=one(row.tags), unknown=one(row.unknown)) for row in rows]
    without = [replace(row, unknown=tuple(set(row.unknown) - set(row.tags))) for row in joined]
    return without, (f"labels merged: {shown}",)


def _letters(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).split())
