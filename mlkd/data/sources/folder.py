"""The user's own images: a folder, a table or sub-folders that say which tags each has, and perhaps images without."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from mlkd.core.image_kinds import image_files, unread_images
from mlkd.core.labels import Labels
from mlkd.core.progress import Progress
from mlkd.data.base import (
    SOURCE_SPLITS,
    Finding,
    Listing,
    Sample,
    fingerprint_files,
    fingerprint_names,
    is_dead_link,
    names_below,
)
from mlkd.data.copies import group_copies
from mlkd.data.sources.cells import Bad
from mlkd.data.sources.file_names import FileNames, combine, resolve
from mlkd.data.sources.nonsense import refuse_nonsense
from mlkd.data.sources.rows import Row
from mlkd.data.sources.table_options import TableOptions
from mlkd.data.sources.tables import SPLIT_NAMES, SUFFIXES, label_rows, read_table
from mlkd.data.splits import CARVED, carve, held_out

VAL_SHARE = 0.12  # of train, where the table has no val split


@dataclass(frozen=True)
class Found:
    """What a folder holds: the rows whose image is there, why the others were left out, and what to warn of."""

    rows: tuple[Row, ...]
    labels: tuple[str, ...]
    missing: dict[str, str]
    warnings: tuple[str, ...]
    bad: tuple[Bad, ...] = ()
    unused: tuple[str, ...] = ()
    form: str = "folders"
    lost: tuple[Row, ...] = ()  # of the images that are missing


@dataclass(frozen=True, kw_only=True)
class Folder(TableOptions):
    """Images below `root`; `table` is CSV, tab-separated values or JSON lines, as `tables.read_table` reads them.

    Without a split column, or with one value in it, the splits are carved 70/10/20 by hash of the file name, fair to
    rare labels, copies together.  Where there is a split column without val, val is cut from train; where there is
    one without test, val becomes test and val is cut from train.
    """

    kind: Literal["folder"] = "folder"
    root: Path  # folder that the table's file names are relative to
    table: str = "tags.csv"  # path relative to the root, or absolute
    labels_from: Literal["table", "folders"] = "table"  # folders: an image's labels are the names of its folders
    suffix: str = ""  # appended to every file name in the table, e.g. .jpg
    labels: tuple[str, ...] = ()  # labels in order; empty: the columns of a one-hot table, else all tags, sorted
    unlabelled: str | None = None  # folder of unlabelled images for training, relative to the root or absolute

    def __post_init__(self) -> None:
        super().__post_init__()
        if Path(self.table).suffix.lower() not in SUFFIXES:
            raise ValueError(
                f"table: expected a name ending in {', '.join(SUFFIXES)}, got {self.table!r}; "
                "save it as one of these, a column file and a column tags, and say table: FILE"
            )

    def needs_fetch(self) -> bool:
        """Never: the images are the user's."""
        return False

    def fingerprint(self) -> str:
        """Content of the table, names and sizes of every image in it; names of the others."""
        parts = [fingerprint_files([self.root / row.file for row in self.found().rows], self.root)]
        texts = [self._path()] if self.labels_from == "table" else []
        parts += [hashlib.sha256(file.read_bytes()).hexdigest() for file in (*texts, self.label_names) if file]
        parts += [fingerprint_names(self._without_tags())] if self.unlabelled is not None else []
        return hashlib.sha256("".join(parts).encode()).hexdigest()

    def found(self) -> Found:
        """The rows as they will be learnt from.  Raises ValueError for what cannot be read, or cannot be learnt."""
        if not self.root.is_dir():
            raise ValueError(f"root: expected a folder with images, got nothing at {self.root}; say root: FOLDER")
        by_folders = self.labels_from == "folders"
        found = self._by_folders() if by_folders else self._by_table()
        if found.rows:
            refuse_nonsense(self.root if by_folders else self._path(), found.rows, by_folders=by_folders)
        return found

    def read(self, work: Path, progress: Progress) -> Listing:  # noqa: ARG002  (only scenes write)
        """List the images; one whose file is missing is skipped and named."""
        return self.listing(self.found(), progress)

    def listing(self, found: Found, progress: Progress) -> Listing:
        """What was found, with splits."""
        labels = Labels(self.labels or found.labels)
        splits: dict[str, list[Sample]] = {split: [] for split in SOURCE_SPLITS}
        undecided: list[Sample] = []
        alone = len({row.split for row in found.rows}) == 1  # all in train, say, is no split
        to_carve = {row.file: self.root / row.file for row in found.rows if row.split is None or alone}
        groups = group_copies(to_carve)
        for done, row in enumerate(found.rows):
            if done % 500 == 0:
                progress("table", done, len(found.rows))
            sample = self._image(row, labels, groups)
            (undecided if row.file in to_carve else splits[str(row.split)]).append(sample)
        if undecided:
            for split, samples in carve(undecided, CARVED).items():
                splits[split] += samples
        splits = _completed(splits)
        findings = [Finding("The table or the folders have an oddity.", warning) for warning in found.warnings]
        if self.unlabelled is not None:
            without_tags, more = self._unlabelled({self.root / row.file for row in found.rows})
            splits["train"], findings = splits["train"] + without_tags, [*findings, *more]
        declared = Counter(tag for row in (*found.rows, *found.lost) for tag in set(row.tags))
        return Listing(
            labels,
            splits,
            f"images of {self.root}",
            skipped=found.missing,
            bounds=CARVED,
            declared={name: declared[name] for name in labels.names},
            left_out={"missing file": [self._image(row, labels, groups).positives for row in found.lost]},
            findings=tuple(findings),
        )

    def _by_table(self) -> Found:
        path = self._path()
        if not path.is_file():
            raise ValueError(f"{path}: expected a table, got none; say table: FILE, or say labels_from: folders")
        table = read_table(path, self)
        found, missing, loose = resolve(table.rows, FileNames(self.root, self.suffix), path)
        rows, repeated = combine(found, path, merge=self.merge_rows)
        warnings = (*table.warnings, *loose, *repeated)
        lost = tuple({row.file: row for row in table.rows if row.file in missing}.values())
        return Found(tuple(rows), table.labels, missing, warnings, table.bad, table.unused, table.form, lost)

    def _by_folders(self) -> Found:
        """An image below animals/birds has both as tags; train, val and test at the top are splits and no tags."""
        files, _ = image_files(self.root / name for name in sorted(names_below(self.root)))
        images = [file.relative_to(self.root).as_posix() for file in files]
        left_out = {
            ascii(name): "expected a name in UTF-8, got another encoding" for name in images if not _is_text(name)
        }
        left_out |= {
            name: f"{self.root / name}: a symbolic link to nothing" for name in images if is_dead_link(self.root / name)
        }
        paths = [PurePosixPath(name) for name in images if _is_text(name) and name not in left_out]
        split = bool(paths) and all(path.parts[0].lower() in SPLIT_NAMES for path in paths)
        rows = []
        for line, path in enumerate(paths, start=1):
            tags = tuple(dict.fromkeys(part.strip() for part in path.parent.parts[split:]))
            rows.append(Row(line, str(path), tags, (), SPLIT_NAMES[path.parts[0].lower()] if split else None))
        if not any(row.tags for row in rows):
            raise ValueError(
                f"{self.root}: expected sub-folders with images, whose names are labels, got none; say table: FILE, or "
                "say root: FOLDER"
            )
        labelled, labels, warnings = label_rows(self.root, rows, (), self)
        return Found(tuple(labelled), labels, left_out, warnings)

    def _image(self, row: Row, labels: Labels, groups: dict[str, str]) -> Sample:
        positives, unknown = (
            tuple(sorted({self._column(labels, tag, row) for tag in tags})) for tags in (row.tags, row.unknown)
        )
        group = groups.get(row.file, row.file)
        return Sample(row.file, self.root / row.file, positives, group, unknown=unknown)

    def _column(self, labels: Labels, tag: str, row: Row) -> int:
        try:
            return labels.index(tag)
        except ValueError as cause:
            raise ValueError(f"{self._path()}, line {row.line}: {cause}") from None

    def _path(self) -> Path:
        return self.root / self.table

    def _without_tags(self) -> Path:
        assert self.unlabelled is not None
        folder = self.root / self.unlabelled
        if not folder.is_dir():
            raise ValueError(f"unlabelled: expected a folder with images, got nothing at {folder}")
        return folder

    def _unlabelled(self, in_table: set[Path]) -> tuple[list[Sample], tuple[Finding, ...]]:
        """Images that the table does not name, in the order of their names; and what else lies there."""
        folder = self._without_tags()
        files, unread = image_files(folder / inside for inside in sorted(names_below(folder)))
        samples = []
        for file in files:
            name = file.relative_to(self.root).as_posix() if file.is_relative_to(self.root) else file.as_posix()
            if file not in in_table:
                samples.append(Sample(name, file, (), name, labelled=False))
        claim = "Some files without tags are images of kinds that are not read here."
        return samples, (Finding(claim, f"{unread_images(unread)}."),) if unread else ()


def _is_text(name: str) -> bool:
    """False for a name that is no UTF-8, which os.walk gives as halves of letters."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _completed(splits: dict[str, list[Sample]]) -> dict[str, list[Sample]]:
    """Splits of a table that names some of them only."""
    if splits["val"] and not splits["test"]:
        splits = {**splits, "val": [], "test": splits["val"]}
    if not splits["val"] and splits["test"] and splits["train"]:
        splits = {**splits, **carve(splits["train"], held_out(VAL_SHARE))}
    return splits
