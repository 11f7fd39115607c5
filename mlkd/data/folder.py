"""The user's own pictures: a folder, a table that says which tags each has, and perhaps pictures without tags."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlkd.data.base import SOURCE_SPLITS, Finding, Listing, Picture, fingerprint_files, fingerprint_names, names_below
from mlkd.data.carve import CARVED, carve
from mlkd.data.copies import group_copies
from mlkd.data.tables import Row, Table, read_table
from mlkd.image_kinds import image_files, unread_images
from mlkd.labels import Labels
from mlkd.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Folder:
    """Pictures below `root`; `tags` is a CSV table or JSON lines, in one of the forms that `tables.read_table` knows.

    In CSV `delimiter` stands between the tags of one picture.  Without a split column the splits are carved 70/10/20
    by hash of the file name, fair to rare labels, copies together.  `unlabelled` is a folder of more pictures, below
    the root or absolute: those that the table does not name go to train, with every label unknown.
    """

    kind: Literal["folder"] = "folder"
    root: Path
    tags: str = "tags.csv"
    form: Literal["auto", "tags", "columns", "one_hot"] = "auto"
    file_column: str = "file"
    delimiter: str = ";"
    labels: tuple[str, ...] = ()  # empty: a one-hot table's columns, else all tags of the table, sorted
    unlabelled: str | None = None

    def __post_init__(self) -> None:
        if Path(self.tags).suffix not in (".csv", ".jsonl"):
            raise ValueError(f"tags: expected a name ending in .csv or .jsonl, got {self.tags!r}")
        if len(self.delimiter) != 1 or self.delimiter in ',"\n':
            raise ValueError(f"delimiter: expected one character other than a comma or quote, got {self.delimiter!r}")

    def needs_fetch(self) -> bool:
        """Never: the pictures are the user's."""
        return False

    def fingerprint(self) -> str:
        """Names and sizes of the table and of every picture in it; names of the others."""
        rows = self._table().rows
        tagged = fingerprint_files([self.root / self.tags, *(self.root / row.file for row in rows)], self.root)
        return tagged if self.unlabelled is None else tagged[:32] + fingerprint_names(self._without_tags())[:32]

    def read(self, work: Path, progress: Progress) -> Listing:  # noqa: ARG002  (only scenes write)
        """List the pictures; one whose file is missing is skipped and named."""
        table = self._table()
        labels = Labels(self.labels or table.labels)
        skipped = {row.file: f"missing file {self.root / row.file}" for row in table.rows if not self._is_there(row)}
        rows = [row for row in table.rows if row.file not in skipped]
        to_carve = {row.file: self.root / row.file for row in rows if row.split is None}
        groups = group_copies(to_carve)
        splits: dict[str, list[Picture]] = {split: [] for split in SOURCE_SPLITS}
        undecided: list[Picture] = []
        for done, row in enumerate(rows):
            if done % 500 == 0:
                progress("table", done, len(rows))
            picture = self._picture(row, labels, groups)
            (undecided if row.split is None else splits[row.split]).append(picture)
        for split, pictures in carve(undecided, CARVED).items():
            splits[split] += pictures
        findings: tuple[Finding, ...] = ()
        if self.unlabelled is not None:
            without_tags, findings = self._unlabelled({self.root / row.file for row in table.rows})
            splits["train"] += without_tags
        missing = [self._picture(row, labels, groups) for row in table.rows if row.file in skipped]
        declared = Counter(tag for row in table.rows for tag in set(row.tags))
        return Listing(
            labels,
            splits,
            f"pictures of {self.root}",
            skipped=skipped,
            bounds=CARVED,
            declared={name: declared[name] for name in labels.names},
            left_out={"missing file": [picture.positives for picture in missing]},
            findings=findings,
        )

    def _is_there(self, row: Row) -> bool:
        return (self.root / row.file).is_file()

    def _picture(self, row: Row, labels: Labels, groups: dict[str, str]) -> Picture:
        positives, unknown = (
            tuple(sorted({self._column(labels, tag, row) for tag in tags})) for tags in (row.tags, row.unknown)
        )
        group = groups.get(row.file, row.file)
        return Picture(row.file, self.root / row.file, positives, group, unknown=unknown)

    def _column(self, labels: Labels, tag: str, row: Row) -> int:
        try:
            return labels.index(tag)
        except ValueError as cause:
            raise ValueError(f"{self.root / self.tags}, line {row.line}: {cause}") from None

    def _table(self) -> Table:
        """The checked table.  Raises ValueError with file and line."""
        path = self.root / self.tags
        if not path.is_file():
            what = "a table" if self.root.is_dir() else "a folder with a table"
            raise ValueError(f"root: expected {what} {path}, got none; see README for its columns")
        table = read_table(path, form=self.form, file_column=self.file_column, delimiter=self.delimiter)
        for row in table.rows:
            if not (self.root / row.file).resolve().is_relative_to(self.root.resolve()):
                raise ValueError(f"{path}, line {row.line}: expected a file below {self.root}, got {row.file!r}")
        return table

    def _without_tags(self) -> Path:
        assert self.unlabelled is not None
        folder = self.root / self.unlabelled
        if not folder.is_dir():
            raise ValueError(f"unlabelled: expected a folder with pictures, got nothing at {folder}")
        return folder

    def _unlabelled(self, in_table: set[Path]) -> tuple[list[Picture], tuple[Finding, ...]]:
        """Pictures that the table does not name, in the order of their names; and what else lies there."""
        folder = self._without_tags()
        files, unread = image_files(folder / inside for inside in sorted(names_below(folder)))
        pictures = []
        for file in files:
            name = file.relative_to(self.root).as_posix() if file.is_relative_to(self.root) else file.as_posix()
            if file not in in_table:
                pictures.append(Picture(name, file, (), name, labelled=False))
        claim = "Some files without tags are images of kinds that are not read here."
        return pictures, (Finding(claim, f"{unread_images(unread)}."),) if unread else ()
