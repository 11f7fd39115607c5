"""Corrections of labels: the rows of tables with verdicts as decisions about label columns."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from mlkd.core.files import sha256_of
from mlkd.core.labels import Labels
from mlkd.data.base import Sample, normal_spelling
from mlkd.data.paths import is_file
from mlkd.data.sources.cells import read_cells
from mlkd.data.sources.rows import BadRow
from mlkd.data.sources.tables import refuse_bad
from mlkd.data.sources.verdicts import ADVICE, Judged, has_verdicts, read_verdicts


@dataclass(frozen=True)
class Correction:
    """What a person says about an image, as columns of labels; decided ones that are not listed are absent."""

    file: Path
    present: frozenset[int]
    unknown: frozenset[int]
    decided: frozenset[int]  # columns whose decisions it replaces

    @cached_property
    def content(self) -> str:
        """SHA-256 of the file."""
        return sha256_of(self.file)

    def apply(self, sample: Sample) -> Sample:
        """The image with these decisions in place of its own."""
        positives = set(sample.positives) - self.decided | self.present
        return replace(
            sample,
            positives=tuple(sorted(positives)),
            unknown=tuple(sorted(set(sample.unknown) - self.decided | self.unknown)),
            boxes=tuple(box for box in sample.boxes if box.label in positives),
            labelled=sample.labelled or self.decided > self.unknown,
        )


@dataclass(frozen=True)
class Corrections:
    """The rows with a verdict of several tables in order, and how many rows have none."""

    rows: tuple[Correction, ...] = ()
    unjudged: int = 0
    warnings: tuple[str, ...] = ()


def read_corrections(
    tables: Sequence[Path], root: Path | None, labels: Labels, new: Collection[str], *, skip_bad_rows: bool = False
) -> Corrections:
    """Read tables whose names of files are relative to `root`, or each to its own folder.

    A row with the verdict ok decides on all labels except those of `new` that its table never names: whoever wrote the
    table may not have looked for them.  Raises ValueError for bad rows.
    """
    rows: list[Correction] = []
    unjudged, warnings = 0, list[str]()
    by_spelling = _by_spelling(labels)
    for table in tables:
        if not table.is_file():
            raise ValueError(f"tables: expected a file, got nothing at {table}; correct its path")
        cells = read_cells(table)
        if not has_verdicts(table, cells):
            got = ",".join(cells.header)
            raise ValueError(f"{table}, line 1: expected the columns image, tags and verdict, got {got}; {ADVICE}")
        verdicts = read_verdicts(table, cells)
        named = {by_spelling.get(normal_spelling(name)) for row in verdicts.rows for name in row.named}
        complete = frozenset(column for column, name in enumerate(labels.names) if name not in new or column in named)
        read: dict[Path, Correction] = {}
        bad = list(verdicts.bad)
        for row in verdicts.rows:
            try:
                one = _correction(row, root or table.parent, labels, by_spelling, complete)
                if read.setdefault(one.file, one) != one:
                    raise ValueError(f"expected every image once, got {row.file!r} again with other tags or verdict")
            except ValueError as cause:
                bad.append(BadRow(row.line, str(cause)))
        bad.sort(key=lambda row: row.line)
        refuse_bad(table, bad, len(read), skip=skip_bad_rows)
        if bad:
            warnings.append(f"{table}: {len(bad)} bad rows left out, the first: line {bad[0].line}: {bad[0].reason}")
        rows += read.values()
        unjudged += verdicts.unjudged
    return Corrections(tuple(rows), unjudged, tuple(warnings))


def _correction(
    row: Judged, folder: Path, labels: Labels, by_spelling: dict[str, int | None], complete: frozenset[int]
) -> Correction:
    """The row as columns.  Raises ValueError for an unknown label and a missing file."""
    file = Path(os.path.normpath(folder / row.file))
    if not is_file(file):
        raise ValueError(f"expected an image at {file}, got none; set root: FOLDER, to which the names are relative")
    present, absent, unknown = (
        frozenset(_column(name, labels, by_spelling) for name in names)
        for names in (row.present, row.absent, row.unknown)
    )
    named = present | absent | unknown
    if len(named) < len(present) + len(absent) + len(unknown):  # by spelling; `verdicts` has compared the texts
        raise ValueError(f"expected each label once as a tag, absent or unknown, got {'; '.join(row.named)}")
    return Correction(file, present, unknown, named | complete if row.complete else named)


def _column(name: str, labels: Labels, by_spelling: dict[str, int | None]) -> int:
    """The column of a label, also in another case, as spreadsheets write first letters.  Raises ValueError."""
    alike = by_spelling.get(normal_spelling(name))
    if name in labels.names or alike is None:
        try:
            return labels.index(name)
        except ValueError as cause:
            message = str(cause) if str(cause).endswith("?") else f"{cause}."
            raise ValueError(f"{message} If it is a new label, declare it in new_labels (--new-label)") from None
    return alike


def _by_spelling(labels: Labels) -> dict[str, int | None]:
    """The column of each label without differences of case and spaces; None for several."""
    columns: dict[str, int | None] = {}
    for column, name in enumerate(labels.names):
        spelling = normal_spelling(name)
        columns[spelling] = None if spelling in columns else column
    return columns
