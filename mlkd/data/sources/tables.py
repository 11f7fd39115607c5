"""Tables that say which tags each image has: CSV in three forms, or JSON lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlkd.data.base import SOURCE_SPLITS
from mlkd.data.sources.cells import Bad, Cells, read_cells
from mlkd.data.sources.forms import Answers, detect, label_columns
from mlkd.data.sources.json_lines import json_rows
from mlkd.data.sources.label_names import merged, named
from mlkd.data.sources.rows import Row
from mlkd.data.sources.separators import other_separator, split_tags
from mlkd.data.sources.table_options import Form, TableOptions

SUFFIXES = (".csv", ".tsv", ".jsonl")
SPLIT_NAMES = {
    **{name: name for name in SOURCE_SPLITS},
    **{"training": "train", "valid": "val", "validation": "val", "dev": "val", "testing": "test"},
}
LISTED = 10  # bad rows in a message
ROWS = "expected a first line with the names of the columns, and a row for each image below it"
NAME_BYTES, PATH_BYTES = 255, 4000  # what a file system takes

Reading = Callable[[dict[str, str]], tuple[tuple[str, ...], tuple[str, ...]]]  # a record's tags and unknown labels


@dataclass(frozen=True)
class Table:
    """All rows; `labels` are a one-hot table's columns or the names file in their order, else all tags, sorted.

    `warnings` are texts for the user, `bad` the rows that were left out, `unused` the columns that were not read.
    """

    rows: tuple[Row, ...]
    labels: tuple[str, ...]
    form: Form
    warnings: tuple[str, ...] = ()
    bad: tuple[Bad, ...] = ()
    unused: tuple[str, ...] = ()


def read_table(path: Path, options: TableOptions | None = None) -> Table:
    """Read and check a table.

    The forms of CSV: *tags* has a column with `separator` between the tags; *columns* has one tag or nothing in every
    column (tag1, tag2, ...); *one_hot* has a column a label with 1, 0, or nothing, ? or -1 for unknown.  All may have
    a split column, and `unknown` with the labels of which nobody knows.  JSON lines have the keys of *tags*, with
    lists.  Raises ValueError with file and line, for all bad rows at once.
    """
    options = options or TableOptions()
    table = _json_table(path, options) if path.suffix.lower() == ".jsonl" else _csv_table(path, options)
    rows, more = [], list(table.bad)
    for row in table.rows:
        try:
            rows.append(_checked(row))
        except ValueError as cause:
            more.append(Bad(row.line, str(cause)))
    more.sort(key=lambda one: one.line)
    refuse_bad(path, more, len(rows), options)
    if not rows:
        raise ValueError(f"{path}: expected a line for each image, got none; add them, or say table: FILE for another")
    rows, labels, warnings = label_rows(path, rows, table.labels, options)
    if more:
        warnings = (*warnings, f"{path}: {len(more)} bad rows left out, the first: line {more[0].line}: {more[0].why}")
    return replace(table, rows=tuple(rows), labels=labels, warnings=table.warnings + warnings, bad=tuple(more))


def tag_texts(path: Path, options: TableOptions) -> list[str]:
    """The cells that hold all tags of an image, as they are written; none in the other forms."""
    if path.suffix.lower() == ".jsonl":
        return []
    cells = read_cells(path)
    others = _checked_header(path, cells, options)
    values = {name: cells.column(name) for name in others}
    form, used = detect(path, others, values, options)
    return values[used[0]] if form == "tags" else []


def refuse_bad(path: Path, bad: Sequence[Bad], good: int, options: TableOptions) -> None:
    """Raises ValueError that lists bad rows, unless they are to be skipped."""
    if not bad or (options.skip_bad_rows and good):
        return
    listed = [f"{path}, line {one.line}: {one.why}" for one in bad[:LISTED]]
    leave = "" if len(bad) > good else ", or say skip_bad_rows: true"
    raise ValueError("\n".join([*listed, f"bad rows: {len(bad)} of {len(bad) + good}; correct the table{leave}"]))


def label_rows(
    path: Path, rows: list[Row], order: Sequence[str], options: TableOptions
) -> tuple[list[Row], tuple[str, ...], tuple[str, ...]]:
    """Rows with the names that labels are to have, the labels in order, and what to warn of.  Raises ValueError."""
    if options.label_names is not None:
        rows, order = named(rows, order, options.label_names)
    rows, warnings = merged(rows, merge=options.merge_labels)
    present = {tag for row in rows for tag in row.tags + row.unknown}
    lacking = sorted(set(options.ignore_labels) - present - set(order))
    if lacking:
        raise ValueError(
            f"{path}: expected labels in ignore_labels, got {', '.join(lacking)}; say ignore_labels: [NAME]"
        )
    present -= set(options.ignore_labels)
    rows = [replace(row, tags=_kept(row.tags, present), unknown=_kept(row.unknown, present)) for row in rows]
    if not order or options.merge_labels:
        return rows, tuple(sorted(present)), warnings
    kept = present if options.label_names else set(order) - set(options.ignore_labels)
    return rows, tuple(name for name in order if name in kept), warnings


def _kept(tags: tuple[str, ...], present: Collection[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tag for tag in tags if tag in present))


def _csv_table(path: Path, options: TableOptions) -> Table:
    cells = read_cells(path)
    others = _checked_header(path, cells, options)
    values = {name: cells.column(name) for name in others}
    form, used = detect(path, others, values, options)
    answers = Answers(options.negative_values)
    if form == "one_hot":
        used = label_columns(path, used, values, answers)
    rows, bad = _csv_rows(cells, _decisions(form, used, options, answers), options)
    warnings = answers.warnings(path) + cells.warnings(path)
    if form == "tags":
        warnings += _separator_warning(path, values[used[0]], options.separator)
    read = {*used, *_read(options)}
    unused = tuple(name or "a column without a name" for name in cells.header if name not in read)
    return Table(tuple(rows), tuple(used) if form == "one_hot" else (), form, tuple(warnings), tuple(bad), unused)


def _csv_rows(cells: Cells, read: Reading, options: TableOptions) -> tuple[list[Row], list[Bad]]:
    rows, bad = [], list(cells.bad)
    for line, values in cells.records:
        record = dict(zip(cells.header, values, strict=True))
        try:
            tags, unknown = read(record)
            unknown += split_tags(record.get("unknown", ""), options.separator)
        except ValueError as cause:
            bad.append(Bad(line, str(cause)))
            continue
        split = record.get(options.split_column or "") or None
        rows.append(Row(line, record[options.file_column], tags, unknown, split))
    return rows, bad


def _read(options: TableOptions) -> tuple[str | None, ...]:
    """The columns beside those of the tags."""
    return options.file_column, options.split_column, "unknown"


def _separator_warning(path: Path, texts: Collection[str], separator: str) -> list[str]:
    other = other_separator(set(texts), separator)
    if other is None:
        return []
    return [
        f"{path}: most labels contain {other!r} and their parts are labels too; if it stands between tags, "
        f"say separator: {other!r}"
    ]


def _checked_header(path: Path, cells: Cells, options: TableOptions) -> list[str]:
    """The columns that may hold tags."""
    if not cells.records and not cells.bad:
        got = f"only the names {', '.join(cells.header)}" if cells.header else "an empty file"
        raise ValueError(f"{path}: {ROWS}, got {got}; add them, or say table: FILE for another table")
    got = ",".join(cells.header)
    for key, name in (("file_column", options.file_column), ("tags_column", options.tags_column)):
        if name is not None and name not in cells.header:
            raise ValueError(f"{path}, line 1: expected a column {name}, got {got}; say {key}: NAME")
    missing = [name for name in options.ignore_columns if name not in cells.header]
    if missing:
        raise ValueError(f"{path}, line 1: expected the columns {', '.join(missing)} of ignore_columns, got {got}")
    names = [name for name in cells.header if name and name not in options.ignore_columns]
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(
            f"{path}, line 1: expected every column once, got {', '.join(repeated)} more often in {got}; "
            f"rename them, or say ignore_columns: [{repeated[0]}]"
        )
    others = [name for name in names if name not in _read(options)]
    if not others:
        raise ValueError(
            f"{path}, line 1: expected a column tags, or several with tags or with 1 and 0, got {got}; "
            "say table: FILE for another table"
        )
    return others


def _decisions(form: Form, used: Sequence[str], options: TableOptions, answers: Answers) -> Reading:
    """What makes tags and unknown labels of one record; it raises ValueError for a bad one."""
    if form == "tags":
        return lambda record: (split_tags(record[used[0]], options.separator), ())
    if form == "columns":
        return lambda record: (tuple(record[name] for name in used if record[name]), ())

    def one_hot(record: dict[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        values = {name: answers.read(name, record[name]) for name in used}
        return tuple(name for name in used if values[name]), tuple(name for name in used if values[name] is None)

    return one_hot


def _json_table(path: Path, options: TableOptions) -> Table:
    if options.form not in ("auto", "tags"):
        raise ValueError(f"form: expected tags for the JSON lines of {path}, got {options.form}; say form: tags")
    rows, bad, unused = json_rows(path, options)
    return Table(tuple(rows), (), "tags", (), tuple(bad), tuple(unused))


def _checked(row: Row) -> Row:
    """The row with its split's usual name.  Raises ValueError."""
    parts = row.file.split("/")
    if not row.file.strip():
        raise ValueError("expected a file name, got an empty one")
    if "\0" in row.file or any("\ud800" <= letter <= "\udfff" for letter in "".join((row.file, *row.tags))):
        raise ValueError(f"expected text, got a NUL or half of a letter in {row.file[:60]!a}")
    if len(row.file.encode()) > PATH_BYTES or max(len(part.encode()) for part in parts) > NAME_BYTES:
        raise ValueError(f"expected a file name of at most {NAME_BYTES} bytes, got {row.file[:60]!r}…")
    if row.file.startswith("/") or ".." in parts:
        raise ValueError(f"expected a file below the root, got {row.file!r}; say root: FOLDER for another root")
    both = sorted(set(row.tags) & set(row.unknown))
    if both:
        raise ValueError(f"expected a label to be a tag or unknown, got both for {', '.join(both)}")
    if row.split is not None and row.split.lower() not in SPLIT_NAMES:
        raise ValueError(
            f"expected split train, val or test, got {row.split!r}; say split_column: NAME for another column, or null"
        )
    return row if row.split is None else replace(row, split=SPLIT_NAMES[row.split.lower()])
