"""The user's own pictures: a folder, and a table that says which tags each picture has."""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlkd.data.base import SOURCE_SPLITS, Listing, Picture, fingerprint_files, share_of_name
from mlkd.labels import Labels
from mlkd.progress import Progress

CARVED = ((0.70, "train"), (0.80, "val"), (1.0, "test"))  # where the table has no split column


@dataclass(frozen=True)
class _Row:
    line: int
    file: str
    tags: tuple[str, ...]
    split: str | None


@dataclass(frozen=True, kw_only=True)
class Folder:
    """Pictures below `root`; `tags` is tags.csv (columns file, tags, perhaps split) or tags.jsonl (the same keys).

    In CSV `delimiter` stands between the tags of one picture; in JSON lines tags are a list.  Without a split column
    the splits are carved 70/10/20 by hash of the file name, so that they stay when pictures are added.
    """

    kind: Literal["folder"] = "folder"
    root: Path
    tags: str = "tags.csv"
    delimiter: str = ";"
    labels: tuple[str, ...] = ()  # empty: all tags of the table, sorted

    def __post_init__(self) -> None:
        if Path(self.tags).suffix not in (".csv", ".jsonl"):
            raise ValueError(f"tags: expected a name ending in .csv or .jsonl, got {self.tags!r}")
        if len(self.delimiter) != 1 or self.delimiter in ',"\n':
            raise ValueError(f"delimiter: expected one character other than a comma or quote, got {self.delimiter!r}")

    def needs_fetch(self) -> bool:
        """Never: the pictures are the user's."""
        return False

    def fingerprint(self) -> str:
        """Names and sizes of the table and of every picture in it."""
        rows = self._rows()
        return fingerprint_files([self.root / self.tags, *(self.root / row.file for row in rows)], self.root)

    def read(self, work: Path, progress: Progress) -> Listing:  # noqa: ARG002  (only scenes write)
        """List the pictures; one whose file is missing is skipped and named."""
        rows = self._rows()
        labels = Labels(self.labels or tuple(sorted({tag for row in rows for tag in row.tags})))
        splits: dict[str, list[Picture]] = {split: [] for split in SOURCE_SPLITS}
        skipped: dict[str, str] = {}
        for done, row in enumerate(rows):
            if done % 500 == 0:
                progress("table", done, len(rows))
            file = self.root / row.file
            if not file.is_file():
                skipped[row.file] = f"missing file {file}"
                continue
            positives = tuple(sorted({self._column(labels, tag, row) for tag in row.tags}))
            splits[row.split or _carved(row.file)].append(Picture(row.file, file, positives, row.file))
        return Listing(labels, splits, f"pictures of {self.root}", skipped=skipped)

    def _column(self, labels: Labels, tag: str, row: _Row) -> int:
        try:
            return labels.index(tag)
        except ValueError as cause:
            raise ValueError(f"{self.root / self.tags}, line {row.line}: {cause}") from None

    def _rows(self) -> list[_Row]:
        """The checked table.  Raises ValueError with file and line."""
        table = self.root / self.tags
        if not table.is_file():
            what = "a table" if self.root.is_dir() else "a folder with a table"
            raise ValueError(f"root: expected {what} {table}, got none; see README for its columns")
        rows = _csv_rows(table, self.delimiter) if table.suffix == ".csv" else _json_rows(table)
        if not rows:
            raise ValueError(f"{table}: expected at least one picture, got 0")
        for row in rows:
            _check(row, table, self.root)
        name, times = Counter(row.file for row in rows).most_common(1)[0]
        if times > 1:
            raise ValueError(f"{table}: expected every file once, got {name!r} {times} times; merge its rows")
        return rows


def _csv_rows(table: Path, delimiter: str) -> list[_Row]:
    with table.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream, restval="")
        columns = list(reader.fieldnames or [])
        for needed in ("file", "tags"):
            if needed not in columns:
                raise ValueError(f"{table}, line 1: expected columns file,tags, got {','.join(columns) or 'nothing'}")
        return [
            _Row(reader.line_num, line["file"], _tags(line["tags"], delimiter), line.get("split") or None)
            for line in reader
        ]


def _tags(text: str, delimiter: str) -> tuple[str, ...]:
    return tuple(tag.strip() for tag in text.split(delimiter)) if text.strip() else ()


def _json_rows(table: Path) -> list[_Row]:
    rows = []
    for number, line in enumerate(table.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            tree = json.loads(line)
        except json.JSONDecodeError as cause:
            raise ValueError(f"{table}, line {number}: expected one JSON object, got {cause}") from None
        if (
            not isinstance(tree, dict)
            or not isinstance(tree.get("file"), str)
            or not isinstance(tree.get("tags"), list)
        ):
            raise ValueError(f'{table}, line {number}: expected {{"file": "…", "tags": ["…"]}}, got {line[:80]}')
        rows.append(_Row(number, tree["file"], tuple(str(tag).strip() for tag in tree["tags"]), tree.get("split")))
    return rows


def _check(row: _Row, table: Path, root: Path) -> None:
    where = f"{table}, line {row.line}"
    if not row.file.strip():
        raise ValueError(f"{where}: expected a file name, got an empty one")
    if not (root / row.file).resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{where}: expected a file below {root}, got {row.file!r}")
    if not all(row.tags):
        raise ValueError(f"{where}: expected tags that are not empty, got {list(row.tags)}")
    if row.split is not None and row.split not in SOURCE_SPLITS:
        raise ValueError(f"{where}: expected split train, val or test, got {row.split!r}")


def _carved(name: str) -> str:
    share = share_of_name(name)
    return next(split for below, split in CARVED if share < below)
