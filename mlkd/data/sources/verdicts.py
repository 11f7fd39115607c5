"""Reads tables of `tagger.pyz tag --csv` that a person has corrected: only a row with a verdict is ground truth."""

from __future__ import annotations

import csv
import os
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

from mlkd.data.paths import is_file
from mlkd.data.sources.cells import Cells
from mlkd.data.sources.rows import BadRow, Row, Table

VERDICT = "verdict"
COMPLETE, PARTIAL = "ok", "partial"
IMAGE, TAGS, UNKNOWN = "image", "tags", "unknown"
WRITTEN = {IMAGE, TAGS, "scores", "error", "doubtful"}  # columns of a table that the tagger wrote
ESCAPED = ("=", "+", "-", "@", "\t", "\r", "'", "?", "!")  # the tagger writes an apostrophe in front of these
ADVICE = "write ok for complete tags, partial if only the listed tags are known, or nothing if nobody looked"


@dataclass(frozen=True)
class Judged:
    """What a person says about an image: labels that it has, that it lacks, and that the person does not know."""

    line: int
    file: str
    present: tuple[str, ...]
    absent: tuple[str, ...]
    unknown: tuple[str, ...]
    complete: bool  # whether all other labels are absent; else they are unknown

    @property
    def named(self) -> tuple[str, ...]:
        """All labels that the row names."""
        return self.present + self.absent + self.unknown


@dataclass
class Verdicts:
    """The rows of a table with a verdict, those that cannot be used, and the number of rows without a verdict."""

    rows: list[Judged] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)
    unjudged: int = 0


def has_verdicts(path: Path, cells: Cells, ignored: Collection[str] = ()) -> bool:
    """Whether the table has verdicts.  Raises ValueError for tags of the machine without a column for them."""
    names = {name.lower() for name in cells.header if name not in ignored}
    if VERDICT not in names and names >= WRITTEN:
        raise ValueError(
            f"{path}, line 1: expected a column {VERDICT}, got {','.join(cells.header)}: tags of the tagger, which "
            f"nobody has checked; add the column and {ADVICE}"
        )
    return names >= {TAGS, VERDICT}


def read_verdicts(path: Path, cells: Cells, file_column: str = IMAGE) -> Verdicts:
    """Read the rows of a table with the columns image, tags and verdict, in any order, beside any others.

    In the column tags `cat` means that the image has the label, `!cat` that it has not, and `?cat` that this is not
    known; a column `unknown` lists more labels that are not known.  Raises ValueError for a missing column, and if no
    row has a verdict.
    """
    header = [name.lower() for name in cells.header]
    for name in (file_column.lower(), TAGS, VERDICT):
        if header.count(name) != 1:
            raise ValueError(f"{path}, line 1: expected one column {name}, got {','.join(cells.header)}; correct it")
    result = Verdicts(bad=list(cells.bad))
    for line, values in cells.records:
        record = dict(zip(header, values, strict=True))
        try:
            judged = _judged(line, record, record[file_column.lower()])
        except ValueError as cause:
            result.bad.append(BadRow(line, str(cause)))
            continue
        if judged is None:
            result.unjudged += 1
        else:
            result.rows.append(judged)
    if not result.rows and not result.bad:
        raise ValueError(f"{path}: expected rows with a verdict, got none in {result.unjudged}; {ADVICE}")
    return result


def verdict_table(path: Path, cells: Cells, file_column: str, root: Path | None = None) -> Table:
    """The rows with a verdict as a table of tags; Row.unknown has all labels that a partial row does not name."""
    names = {name.lower() for name in cells.header}
    verdicts = read_verdicts(path, cells, file_column if file_column.lower() in names else IMAGE)
    verdicts = _below_root(path, verdicts, root) if root else verdicts
    labels = {name for row in verdicts.rows for name in row.named}
    rows = tuple(Row(row.line, row.file, row.present, unknown_labels(row, labels)) for row in verdicts.rows)
    warnings = (f"{path}: {verdicts.unjudged} rows without a verdict are not read",) if verdicts.unjudged else ()
    return Table(rows, warnings=warnings, bad=tuple(verdicts.bad))


def _below_root(path: Path, verdicts: Verdicts, root: Path) -> Verdicts:
    """Make names relative to `root` that are relative to the folder of the table, as the tagger writes them.

    If one of them is, all are, and a row without its file is a bad row: the same name below `root` is another image.
    """
    files = [os.path.abspath(path.parent / row.file) for row in verdicts.rows]  # noqa: PTH100
    if not any(is_file(Path(file)) for file in files):
        return verdicts
    beginning = os.path.join(os.path.abspath(root), "")  # noqa: PTH100, PTH118  (Path has no trailing slash)
    rows, bad = [], list(verdicts.bad)
    for row, file in zip(verdicts.rows, files, strict=True):
        if is_file(Path(file)):
            rows.append(replace(row, file=file.removeprefix(beginning).replace(os.sep, "/")))
        else:
            bad.append(BadRow(row.line, f"expected an image at {file}, got none, as others are relative to the table"))
    return Verdicts(rows, bad, verdicts.unjudged)


def unknown_labels(row: Judged, labels: Collection[str]) -> tuple[str, ...]:
    """The labels of `labels` that the row leaves unknown, in their order."""
    known = {*row.present, *row.absent}
    return row.unknown if row.complete else tuple(name for name in sorted(labels) if name not in known)


def _judged(line: int, record: dict[str, str], file: str) -> Judged | None:
    """The row; None without a verdict.  Raises ValueError."""
    verdict = record[VERDICT].strip().lower()
    if not verdict:
        return None
    if verdict not in (COMPLETE, PARTIAL):
        raise ValueError(f"expected the verdict {COMPLETE}, {PARTIAL} or nothing, got {record[VERDICT]!r}; {ADVICE}")
    if not file:
        raise ValueError("expected a file name, got an empty one")
    marked: dict[str, list[str]] = {"": [], "!": [], "?": []}
    for text in _split(record[TAGS]):
        mark = text[0] if text[0] in "!?" else ""
        label = text[len(mark) :].strip()
        if not label:
            raise ValueError(
                f"expected a label after {mark}, got none; write {mark}cat, or '{mark} for the label {mark}"
            )
        marked[mark].append(_without_escape(label))
    marked["?"] += map(_without_escape, _split(record.get(UNKNOWN, "")))
    present, absent, unknown = (tuple(dict.fromkeys(filter(None, names))) for names in marked.values())
    both = sorted(set(present) & set(absent) | set(present) & set(unknown) | set(absent) & set(unknown))
    if both:
        raise ValueError(f"expected each label once as a tag, absent or unknown, got several for {', '.join(both)}")
    if verdict == PARTIAL and not present + absent + unknown:
        raise ValueError(
            f"expected tags that are known with {PARTIAL}, got none; write !cat for a label that is absent: a deleted "
            "tag is unknown"
        )
    return Judged(line, _without_escape(file), present, absent, unknown, verdict == COMPLETE)


def _split(cell: str) -> list[str]:
    """The tags of a cell, separated by semicolons; a tag with a semicolon is quoted."""
    parts = next(csv.reader([cell.replace("\n", " ")], delimiter=";", skipinitialspace=True), [])
    return [part.strip() for part in parts if part.strip()]


def _without_escape(text: str) -> str:
    return text[1:] if text.startswith("'") and text[1:].startswith(ESCAPED) else text
