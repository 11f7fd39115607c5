"""Reads tables with the tags of each image: CSV in three forms, or JSON lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from mlkd.data.base import SOURCE_SPLITS
from mlkd.data.paths import is_utf8
from mlkd.data.sources.cells import Cells, read_cells
from mlkd.data.sources.forms import LabelCells, detect_form, label_columns
from mlkd.data.sources.json_lines import json_table
from mlkd.data.sources.label_names import merge_spellings, replace_numbers
from mlkd.data.sources.rows import BadRow, Row, Table
from mlkd.data.sources.separators import other_separator, split_tags
from mlkd.data.sources.table_options import Form, TableOptions
from mlkd.data.sources.verdicts import has_verdicts, verdict_table

SUFFIXES = (".csv", ".tsv", ".jsonl")
SPLIT_NAMES = {
    **{name: name for name in SOURCE_SPLITS},
    **{"training": "train", "valid": "val", "validation": "val", "dev": "val", "testing": "test"},
}
SHOWN = 10  # bad rows in a message
ROWS = "expected a first line with the names of the columns, and a row for each image below it"
NAME_BYTES, PATH_BYTES = 255, 4000  # limits of a file system

ReadLabels = Callable[[dict[str, str]], tuple[tuple[str, ...], tuple[str, ...]]]  # a record's tags and unknown labels


def read_table(path: Path, options: TableOptions | None = None, root: Path | None = None) -> Table:
    """Read and check a table; names of files become relative to `root`.

    CSV has three forms: *tags* has a column with `separator` between the tags; *columns* has one tag or nothing in
    each column (tag1, tag2, ...); *one_hot* has a column for each label with 1, 0, or nothing, ? or -1 for unknown.
    All may have a split column, and a column `unknown` with the labels whose value is not known.  JSON lines have the
    keys of *tags*, with lists.  Of a table with verdicts only the rows that have one are read, whose names may be
    relative to its folder, see `verdicts`.  Raises ValueError that names file and line, for all bad rows at once.
    """
    options = options or TableOptions()
    if path.suffix.lower() == ".jsonl" and options.form not in ("auto", "tags"):
        raise ValueError(f"form: expected tags for the JSON lines of {path}, got {options.form}; set form: tags")
    table = json_table(path, options) if path.suffix.lower() == ".jsonl" else _csv_table(path, options, root)
    rows, bad = [], list(table.bad)
    for row in table.rows:
        try:
            rows.append(_check_row(row, root))
        except ValueError as cause:
            bad.append(BadRow(row.line, str(cause)))
    bad.sort(key=lambda row: row.line)
    refuse_bad(path, bad, len(rows), skip=options.skip_bad_rows)
    if not rows:
        raise ValueError(f"{path}: expected a line for each image, got none; add them, or set table: FILE for another")
    rows, labels, warnings = label_rows(path, rows, table.labels, options)
    if bad:
        warnings = (*warnings, f"{path}: {len(bad)} bad rows left out, the first: line {bad[0].line}: {bad[0].reason}")
    return replace(table, rows=tuple(rows), labels=labels, warnings=table.warnings + warnings, bad=tuple(bad))


def tag_texts(path: Path, options: TableOptions) -> list[str]:
    """Return the unsplit cells that hold all tags of an image; none in the other forms."""
    if path.suffix.lower() == ".jsonl":
        return []
    cells = read_cells(path)
    if has_verdicts(path, cells, options.ignore_columns):
        return []
    values, form, used = _read_columns(path, cells, options)
    return values[used[0]] if form == "tags" else []


def refuse_bad(path: Path, bad: Sequence[BadRow], good: int, *, skip: bool) -> None:
    """Raise ValueError for bad rows, unless they are to be skipped and there are good ones."""
    if not bad or (skip and good):
        return
    lines_of: dict[str, list[int]] = {}
    for row in bad:
        lines_of.setdefault(row.reason, []).append(row.line)
    lines = [
        f"{path}, line {first}{f' and {len(more)} more' if more else ''}: {reason}"
        for reason, (first, *more) in list(lines_of.items())[:SHOWN]
    ]
    option = "" if len(bad) > good else ", or set skip_bad_rows: true"
    raise ValueError("\n".join([*lines, f"bad rows: {len(bad)} of {len(bad) + good}; correct the table{option}"]))


def label_rows(
    path: Path, rows: list[Row], order: Sequence[str], options: TableOptions
) -> tuple[list[Row], tuple[str, ...], tuple[str, ...]]:
    """Rename, merge and drop labels by the options; returns rows, ordered labels and warnings.  Raises ValueError."""
    if options.label_names is not None:
        rows, order = replace_numbers(rows, order, options.label_names)
    rows, warnings = merge_spellings(rows, merge=options.merge_labels)
    present = {tag for row in rows for tag in row.tags + row.unknown}
    lacking = sorted(set(options.ignore_labels) - present - set(order))
    if lacking:
        raise ValueError(
            f"{path}: expected labels in ignore_labels, got {', '.join(lacking)}; set ignore_labels: [NAME]"
        )
    present -= set(options.ignore_labels)
    rows = [replace(row, tags=_only(present, row.tags), unknown=_only(present, row.unknown)) for row in rows]
    if not order or options.merge_labels:
        return rows, tuple(sorted(present)), warnings
    retained = present if options.label_names else set(order) - set(options.ignore_labels)
    return rows, _only(retained, order), warnings


def _only(names: Collection[str], tags: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tag for tag in tags if tag in names))


def _read_columns(path: Path, cells: Cells, options: TableOptions) -> tuple[dict[str, list[str]], Form, list[str]]:
    """The columns of a CSV table that may hold tags with their values, the form, and the columns that it uses."""
    values = {name: cells.column(name) for name in _check_header(path, cells, options)}
    form, used = detect_form(path, list(values), values, options)
    return values, form, used


def _csv_table(path: Path, options: TableOptions, root: Path | None) -> Table:
    cells = read_cells(path)
    if has_verdicts(path, cells, options.ignore_columns):
        return verdict_table(path, cells, options.file_column, root)
    values, form, used = _read_columns(path, cells, options)
    label_cells = LabelCells(options.negative_values)
    if form == "one_hot":
        used = label_columns(path, used, values, label_cells)
    rows, bad = _csv_rows(cells, _label_reader(form, used, options, label_cells), options)
    warnings = label_cells.warnings(path) + cells.warnings(path)
    other = other_separator(set(values[used[0]]), options.separator) if form == "tags" else None
    if other is not None:
        warnings.append(
            f"{path}: most labels contain {other!r} and their parts are labels too; if it stands between tags, "
            f"set separator: {other!r}"
        )
    read = {*used, *_other_columns(options)}
    unused = tuple(name or "a column without a name" for name in cells.header if name not in read)
    return Table(tuple(rows), tuple(used) if form == "one_hot" else (), form, tuple(warnings), tuple(bad), unused)


def _csv_rows(cells: Cells, read_labels: ReadLabels, options: TableOptions) -> tuple[list[Row], list[BadRow]]:
    rows, bad = [], list(cells.bad)
    for line, values in cells.records:
        record = dict(zip(cells.header, values, strict=True))
        try:
            tags, unknown = read_labels(record)
            unknown += split_tags(record.get("unknown", ""), options.separator)
        except ValueError as cause:
            bad.append(BadRow(line, str(cause)))
            continue
        split = record.get(options.split_column or "") or None
        rows.append(Row(line, record[options.file_column], tags, unknown, split))
    return rows, bad


def _other_columns(options: TableOptions) -> tuple[str | None, ...]:
    """The columns that hold no tags."""
    return options.file_column, options.split_column, "unknown"


def _check_header(path: Path, cells: Cells, options: TableOptions) -> list[str]:
    """The columns that may hold tags.  Raises ValueError."""
    if not cells.records and not cells.bad:
        got = f"only the names {', '.join(cells.header)}" if cells.header else "an empty file"
        raise ValueError(f"{path}: {ROWS}, got {got}; add them, or set table: FILE for another table")
    got = ",".join(cells.header)
    for key, name in (("file_column", options.file_column), ("tags_column", options.tags_column)):
        if name is not None and name not in cells.header:
            raise ValueError(f"{path}, line 1: expected a column {name}, got {got}; set {key}: NAME")
    missing = [name for name in options.ignore_columns if name not in cells.header]
    if missing:
        raise ValueError(f"{path}, line 1: expected the columns {', '.join(missing)} of ignore_columns, got {got}")
    names = [name for name in cells.header if name and name not in options.ignore_columns]
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(
            f"{path}, line 1: expected every column once, got {', '.join(repeated)} more often in {got}; "
            f"rename them, or set ignore_columns: [{repeated[0]}]"
        )
    others = [name for name in names if name not in _other_columns(options)]
    if not others:
        raise ValueError(
            f"{path}, line 1: expected a column tags, or several with tags or with 1 and 0, got {got}; "
            "set table: FILE for another table"
        )
    return others


def _label_reader(form: Form, used: Sequence[str], options: TableOptions, cells: LabelCells) -> ReadLabels:
    """The function that reads the tags and unknown labels of a record; it raises ValueError for a bad one."""
    if form == "tags":
        return lambda record: (split_tags(record[used[0]], options.separator), ())
    if form == "columns":
        return lambda record: (tuple(record[name] for name in used if record[name]), ())

    def one_hot(record: dict[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        values = {name: cells.read(name, record[name]) for name in used}
        return tuple(name for name in used if values[name]), tuple(name for name in used if values[name] is None)

    return one_hot


def _check_row(row: Row, root: Path | None) -> Row:
    """The row with its file relative to `root` and its split's standard name.  Raises ValueError."""
    row = replace(row, file=row.file.removeprefix(f"{root}/")) if root else row
    parts = row.file.split("/")
    if not row.file.strip():
        raise ValueError("expected a file name, got an empty one")
    if "\0" in row.file or not is_utf8("".join((row.file, *row.tags, *row.unknown))):
        raise ValueError(f"expected text, got a NUL or a lone surrogate in {row.file[:60]!a}")
    if len(row.file.encode()) > PATH_BYTES or max(len(part.encode()) for part in parts) > NAME_BYTES:
        raise ValueError(f"expected a file name of at most {NAME_BYTES} bytes, got {row.file[:60]!r}…")
    if row.file.startswith("/") or ".." in parts:
        raise ValueError(
            f"expected a file below the root, got {row.file!r}; set root: FOLDER, an absolute path, for another"
        )
    both = sorted(set(row.tags) & set(row.unknown))
    if both:
        raise ValueError(f"expected a label to be a tag or unknown, got both for {', '.join(both)}")
    if row.split is not None and row.split.lower() not in SPLIT_NAMES:
        raise ValueError(
            f"expected split train, val or test, got {row.split!r}; set split_column: NAME of another column, or null"
        )
    return row if row.split is None else replace(row, split=SPLIT_NAMES[row.split.lower()])
