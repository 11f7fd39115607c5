"""One row an image: what tables and folders are read into, rows of one file, and labels that no model can learn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from mlkd.core.labels import fault_of

LEAST_LABELS = 5  # tiny sets have as many labels as images: below this number that is no error


@dataclass(frozen=True, slots=True)
class Row:
    """One image of a table or a folder: its line (from 1), its tags, and the labels whose value is not known."""

    line: int
    file: str
    tags: tuple[str, ...]
    unknown: tuple[str, ...] = ()
    split: str | None = None


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used, and the reason."""

    line: int
    reason: str


@dataclass(frozen=True)
class Table:
    """The content of a table or of sub-folders with images."""

    rows: tuple[Row, ...]
    labels: tuple[str, ...] = ()  # a one-hot table's columns or the names file in their order, else all tags, sorted
    form: Literal["tags", "columns", "one_hot", "folders"] = "tags"
    warnings: tuple[str, ...] = ()  # about what was read although it looks wrong
    bad: tuple[BadRow, ...] = ()
    unused: tuple[str, ...] = ()  # columns that were not read
    missing: dict[str, str] = field(default_factory=dict)  # by file name, why it is not among the rows
    missing_rows: tuple[Row, ...] = ()  # one of each missing file


def combine_rows(rows: Sequence[Row], path: Path, *, merge: bool) -> tuple[list[Row], tuple[str, ...]]:
    """Make one row of all rows of a file, and say so in a warning.

    With `merge`, rows may have different tags; a label that one row has and another leaves unknown is a tag.
    Raises ValueError for different tags without `merge`, and for different splits.
    """
    by_file: dict[str, list[Row]] = {}
    for row in rows:
        by_file.setdefault(row.file, []).append(row)
    repeated = [same for same in by_file.values() if len(same) > 1]
    different = [
        same for same in repeated if len({(frozenset(row.tags), frozenset(row.unknown), row.split) for row in same}) > 1
    ]
    if different and not merge:
        first = different[0]
        lines = ", ".join(str(row.line) for row in first[:5])
        raise ValueError(
            f"{path}: expected every file once, got {len(different)} files in several rows with different tags, the "
            f"first: {first[0].file!r} in lines {lines}; set merge_rows: true to give each the tags of all its rows"
        )
    for same in different:
        splits = {row.split for row in same}
        if len(splits) > 1:
            raise ValueError(
                f"{path}, line {same[0].line}: expected {same[0].file!r} in one split, got "
                f"{', '.join(sorted(map(str, splits)))}; set split_column: null to split by hash"
            )
    warnings = (f"{path}: {len(repeated)} files are in several rows; their tags were merged",) if repeated else ()
    return [_merge(same) for same in by_file.values()], warnings


def _merge(same: Sequence[Row]) -> Row:
    tags = dict.fromkeys(tag for row in same for tag in row.tags)
    unknown = dict.fromkeys(tag for row in same for tag in row.unknown if tag not in tags)
    return replace(same[0], tags=tuple(tags), unknown=tuple(unknown))


def refuse_unlearnable(where: object, rows: Sequence[Row], *, by_folders: bool = False) -> None:
    """Raise ValueError for labels that no model can learn: on every image, or about one label for each image.

    `where` is the table or folder; `by_folders`: the labels are names of sub-folders.
    """
    other = "set table: FILE, or set root: FOLDER" if by_folders else "set tags_column: NAME, or set table: FILE"
    positives = Counter(tag for row in rows for tag in set(row.tags))
    unknown = Counter(tag for row in rows for tag in set(row.unknown))
    if not positives:
        raise ValueError(f"{where}: expected tags, got none in {len(rows)} images; {other}")
    broken = sorted(filter(None, map(fault_of, {*positives, *unknown})))
    if broken:
        raise ValueError(f"{where}: expected label names on one line, got {', '.join(broken[:5])}; {other}")
    everywhere = sorted(name for name, count in positives.items() if count + unknown[name] == len(rows))
    if len(positives) == len(everywhere) == 1:
        raise ValueError(
            f"{where}: expected labels that some images have and others not, got only {everywhere[0]!r}, on all of "
            f"{len(rows)} images; {other}" + ("" if by_folders else ", or set labels_from: folders")
        )
    if everywhere:
        raise ValueError(
            f"{where}: expected no label on every image, got {', '.join(map(repr, everywhere[:10]))} on all of "
            f"{len(rows)}, which no model can learn; set ignore_labels: [{', '.join(everywhere)}]"
        )
    single = sum(count == 1 for count in positives.values())
    if len(positives) >= max(LEAST_LABELS, len(rows)) or (len(positives) >= LEAST_LABELS and single == len(positives)):
        names = ", ".join(map(repr, sorted(positives)[:5]))
        raise ValueError(
            f"{where}: expected labels that several images share, got {len(positives)} labels for {len(rows)} images "
            f"({names}, …), {single} of them on one image; "
            + (other if by_folders else f"set separator: MARK if another one stands between tags, {other}")
        )
