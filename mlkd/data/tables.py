"""Tables that say which tags each picture has: CSV in three forms, or JSON lines."""

from __future__ import annotations

import csv
import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mlkd.data.base import SOURCE_SPLITS

Form = Literal["tags", "columns", "one_hot"]
FORMS: tuple[Form, ...] = ("tags", "columns", "one_hot")
ONE_HOT = {"1": True, "1.0": True, "0": False, "0.0": False, "": None, "?": None, "-1": None, "-1.0": None}
OTHER_COLUMNS = ("split", "unknown")  # beside the file and the tags
NUMBERED = re.compile(r"(.*?)[ _-]?(\d+)")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """One picture: the line it stands on (from 1), its tags, and the labels of which nobody knows."""

    line: int
    file: str
    tags: tuple[str, ...]
    unknown: tuple[str, ...] = ()
    split: str | None = None


@dataclass(frozen=True)
class Table:
    """All rows; `labels` are a one-hot table's columns in their order, else all tags and unknown labels, sorted."""

    rows: tuple[Row, ...]
    labels: tuple[str, ...]
    form: Form


def read_table(
    path: Path, *, form: Literal["auto"] | Form = "auto", file_column: str = "file", delimiter: str = ";"
) -> Table:
    """Read and check a table.

    The forms of CSV: *tags* has a column `tags` with `delimiter` between the tags; *columns* has one tag or nothing in
    every column (tag1, tag2, ...); *one_hot* has a column a label with 1, 0, or nothing, ? or -1 for unknown.  All may
    have `split`, and `unknown` with the labels of which nobody knows.  JSON lines have the keys of *tags*, with lists.
    Raises ValueError with file and line.
    """
    if path.suffix == ".jsonl":
        rows, labels, form = _json_rows(path, form, file_column), None, "tags"
    else:
        rows, labels, form = _csv_rows(path, form, file_column, delimiter)
    if not rows:
        raise ValueError(f"{path}: expected at least one picture, got 0; add rows below the header")
    for row in rows:
        _check(row, path)
    name, times = Counter(row.file for row in rows).most_common(1)[0]
    if times > 1:
        raise ValueError(f"{path}: expected every file once, got {name!r} {times} times; merge its rows")
    return Table(tuple(rows), labels or tuple(sorted({tag for row in rows for tag in row.tags + row.unknown})), form)


def _csv_rows(
    path: Path, form: Literal["auto"] | Form, file_column: str, delimiter: str
) -> tuple[list[Row], tuple[str, ...] | None, Form]:
    lines = list(_lines(path))
    header = [name.strip() for name in lines[0][1]] if lines else []
    _check_header(path, header, file_column)
    records = [(line, _record(path, line, header, values)) for line, values in lines[1:]]
    others = [name for name in header if name not in (file_column, *OTHER_COLUMNS)]
    if form == "auto":
        form = _detected(path, others, records)
    if form == "tags" and "tags" not in others:
        raise ValueError(f"{path}, line 1: expected a column tags, got {','.join(header)}; or name another form")
    decisions = _decisions(path, form, others, delimiter)
    rows = []
    for line, record in records:
        tags, unknown = decisions(line, record)
        unknown += _split_tags(record.get("unknown", ""), delimiter)
        rows.append(Row(line, record[file_column], tags, unknown, record.get("split") or None))
    if (
        form == "one_hot"
        and rows
        and not any(ONE_HOT[record[name]] is False for _, record in records for name in others)
    ):
        _log.warning("%s: no 0 in any column, so that every absent label counts as unknown; write 0 if it is not", path)
    return rows, tuple(others) if form == "one_hot" else None, form


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and cells of the lines that are not empty."""
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.reader(stream)
        try:
            for cells in reader:
                if cells:
                    yield reader.line_num, cells
        except UnicodeDecodeError as cause:
            raise ValueError(f"{path}: expected UTF-8, got {cause}; save it as UTF-8") from None
        except csv.Error as cause:
            raise ValueError(f"{path}, line {reader.line_num}: expected comma-separated values, got {cause}") from None


def _check_header(path: Path, header: list[str], file_column: str) -> None:
    got = ",".join(header) or "nothing"
    if file_column not in header:
        raise ValueError(
            f"{path}, line 1: expected a column {file_column}, got {got}; say with file_column which one names the file"
        )
    if len(set(header)) < len(header) or "" in header:
        raise ValueError(f"{path}, line 1: expected columns with names, each once, got {got}")
    if set(header) <= {file_column, *OTHER_COLUMNS}:
        raise ValueError(f"{path}, line 1: expected a column tags, or several with tags or with 1 and 0, got {got}")


def _record(path: Path, line: int, header: list[str], values: list[str]) -> dict[str, str]:
    if len(values) != len(header):
        raise ValueError(
            f"{path}, line {line}: expected {len(header)} values as in the header, got {len(values)}; "
            'quote a value that holds a comma, "a,b"'
        )
    return dict(zip(header, (value.strip() for value in values), strict=True))


def _detected(path: Path, others: list[str], records: list[tuple[int, dict[str, str]]]) -> Form:
    """The form, from the header; a header that fits two forms is refused, never guessed."""
    if "tags" in others:
        return "tags"
    matches = [NUMBERED.fullmatch(name) for name in others]
    prefixes = {match[1] for match in matches if match}
    if not all(matches) or len(prefixes) > 1:
        return "one_hot"
    if all(record[name] in ONE_HOT for _, record in records for name in others):
        raise ValueError(
            f"{path}: expected tags in the columns {','.join(others)}, got only 0, 1 and unknown; "
            "say which it is with form: columns or form: one_hot"
        )
    return "columns"


def _decisions(
    path: Path, form: Form, others: list[str], delimiter: str
) -> Callable[[int, dict[str, str]], tuple[tuple[str, ...], tuple[str, ...]]]:
    """What makes tags and unknown labels of one record."""
    if form == "tags":
        return lambda _, record: (_split_tags(record["tags"], delimiter), ())
    if form == "columns":
        return lambda _, record: (tuple(record[name] for name in others if record[name]), ())

    def one_hot(line: int, record: dict[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        for name in others:
            if record[name] not in ONE_HOT:
                raise ValueError(
                    f"{path}, line {line}: expected 1, 0, or nothing, ? or -1 for unknown in column {name}, "
                    f"got {record[name]!r}; if the columns hold tags, say form: columns"
                )
        values = {name: ONE_HOT[record[name]] for name in others}
        return tuple(name for name in others if values[name]), tuple(name for name in others if values[name] is None)

    return one_hot


def _split_tags(text: str, delimiter: str) -> tuple[str, ...]:
    return tuple(tag.strip() for tag in text.split(delimiter)) if text.strip() else ()


def _json_rows(path: Path, form: Literal["auto"] | Form, file_column: str) -> list[Row]:
    if form not in ("auto", "tags"):
        raise ValueError(f"form: expected auto or tags for the JSON lines of {path}, got {form}")
    rows = []
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as cause:
        raise ValueError(f"{path}: expected UTF-8, got {cause}; save it as UTF-8") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            tree = json.loads(line)
        except json.JSONDecodeError as cause:
            raise ValueError(f"{path}, line {number}: expected one JSON object, got {cause}") from None
        if not _fits(tree, file_column):
            raise ValueError(
                f'{path}, line {number}: expected {{"{file_column}": "…", "tags": ["…"]}} and perhaps '
                f'"unknown": ["…"] and "split": "…", got {line[:80]}'
            )
        tags, unknown = (tuple(str(tag).strip() for tag in tree.get(key, ())) for key in ("tags", "unknown"))
        rows.append(Row(number, tree[file_column], tags, unknown, tree.get("split") or None))
    return rows


def _fits(tree: Any, file_column: str) -> bool:
    return (
        isinstance(tree, dict)
        and isinstance(tree.get(file_column), str)
        and isinstance(tree.get("tags"), list)
        and isinstance(tree.get("unknown", []), list)
        and isinstance(tree.get("split") or "", str)
    )


def _check(row: Row, path: Path) -> None:
    where = f"{path}, line {row.line}"
    if not row.file.strip():
        raise ValueError(f"{where}: expected a file name, got an empty one")
    if not all(row.tags + row.unknown):
        raise ValueError(f"{where}: expected tags that are not empty, got {list(row.tags + row.unknown)}")
    both = sorted(set(row.tags) & set(row.unknown))
    if both:
        raise ValueError(f"{where}: expected a label to be a tag or unknown, got both for {', '.join(both)}")
    if row.split is not None and row.split not in SOURCE_SPLITS:
        raise ValueError(f"{where}: expected split train, val or test, got {row.split!r}")
