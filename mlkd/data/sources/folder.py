"""The user's own images: a folder, a table or sub-folders with the tags of each, and optionally unlabelled images."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from mlkd.core.image_kinds import image_files, unread_images
from mlkd.core.labels import Labels
from mlkd.core.printable import is_utf8
from mlkd.core.progress import Progress
from mlkd.data.base import SOURCE_SPLITS, Finding, ImageSource, Listing, Sample
from mlkd.data.paths import fingerprint_files, fingerprint_folders, is_dead_link, relative_paths
from mlkd.data.sources.file_names import FileNames, resolve_files
from mlkd.data.sources.rows import Row, Table, combine_rows, refuse_unlearnable
from mlkd.data.sources.table_options import TableOptions
from mlkd.data.sources.tables import SPLIT_NAMES, SUFFIXES, label_rows, read_table
from mlkd.data.splits import TRAIN_VAL_TEST, split_by_hash, train_val

VAL_SHARE = 0.12  # of train, where the table has no val split


@dataclass(frozen=True, kw_only=True)
class Folder(TableOptions, ImageSource):
    """Images below `root`; `table` is CSV, tab-separated values or JSON lines, see `tables.read_table`.

    Without a split column, or with one value in it, the images are split 70/10/20 by hash of the file name, fair to
    rare labels, copies together.  If the split column has no val, val becomes a share of train; if it has no test, val
    becomes test and a share of train becomes val.
    """

    kind: Literal["folder"] = "folder"
    root: Path  # the names in the table are relative to this folder
    table: str = "tags.csv"  # file below the root, or absolute
    labels_from: Literal["table", "folders"] = "table"  # folders: the names of an image's folders are its labels
    suffix: str = ""  # added to every file name in the table, such as .jpg
    labels: tuple[str, ...] = ()  # in order; empty: a one-hot table's columns, else all tags, sorted
    unlabelled: str | None = None  # folder with more images for train, all labels unknown; below the root or absolute

    def __post_init__(self) -> None:
        super().__post_init__()
        if Path(self.table).suffix.lower() not in SUFFIXES:
            raise ValueError(
                f"table: expected a name ending in {', '.join(SUFFIXES)}, got {self.table!r}; "
                "save it as one of these, a column file and a column tags, and set table: FILE"
            )

    def fingerprint(self) -> str:
        """Hash the content of the table, and names, sizes and times of the images."""
        parts = [fingerprint_files([self.root / row.file for row in self.read_rows().rows], self.root)]
        texts = [self._path()] if self.labels_from == "table" else []
        parts += [hashlib.sha256(file.read_bytes()).hexdigest() for file in (*texts, self.label_names) if file]
        parts += [fingerprint_folders(self._unlabelled_folder())] if self.unlabelled is not None else []
        return hashlib.sha256("".join(parts).encode()).hexdigest()

    def read_rows(self) -> Table:
        """Read the table or the sub-folders.  Raises ValueError, also for labels that no model can learn."""
        if not self.root.is_dir():
            raise ValueError(f"root: expected a folder with images, got nothing at {self.root}; set root: FOLDER")
        by_folders = self.labels_from == "folders"
        result = self._rows_of_folders() if by_folders else self._rows_of_table()
        if result.rows:
            refuse_unlearnable(self.root if by_folders else self._path(), result.rows, by_folders=by_folders)
        return result

    def read(self, work: Path, progress: Progress) -> Listing:  # noqa: ARG002  (only scenes write)
        """List the images; one whose file is missing is skipped and named."""
        return self.split_rows(self.read_rows(), progress)

    def split_rows(self, result: Table, progress: Progress) -> Listing:
        """Turn the rows into images with splits."""
        labels = Labels(self.labels or result.labels)
        splits: dict[str, list[Sample]] = {split: [] for split in SOURCE_SPLITS}
        unassigned: list[Sample] = []
        one_split = len({row.split for row in result.rows}) == 1  # all images in train, for example, are not split
        without_split = {row.file: self.root / row.file for row in result.rows if row.split is None or one_split}
        from mlkd.data.copies import group_equal_files

        groups = group_equal_files(without_split)
        for done, row in enumerate(result.rows):
            if done % 500 == 0:
                progress("table", done, len(result.rows))
            sample = self._sample(row, labels, groups)
            (unassigned if row.file in without_split else splits[str(row.split)]).append(sample)
        if unassigned:
            for split, samples in split_by_hash(unassigned, TRAIN_VAL_TEST).items():
                splits[split] += samples
        splits = _complete(splits)
        findings = [Finding("The table or the folder needs a check.", warning) for warning in result.warnings]
        if self.unlabelled is not None:
            unlabelled, unsupported = self._unlabelled({self.root / row.file for row in result.rows})
            splits["train"], findings = splits["train"] + unlabelled, [*findings, *unsupported]
        declared = Counter(tag for row in (*result.rows, *result.missing_rows) for tag in set(row.tags))
        return Listing(
            labels,
            splits,
            f"images of {self.root}",
            skipped=result.missing,
            bounds=TRAIN_VAL_TEST,
            declared={name: declared[name] for name in labels.names},
            left_out={"missing file": [self._sample(row, labels, groups).positives for row in result.missing_rows]},
            findings=tuple(findings),
        )

    def _rows_of_table(self) -> Table:
        path = self._path()
        if not path.is_file():
            raise ValueError(f"{path}: expected a table, got none; set table: FILE, or set labels_from: folders")
        table = read_table(path, self, self.root)
        resolved, missing, loose = resolve_files(table.rows, FileNames(self.root, self.suffix), path)
        rows, repeated = combine_rows(resolved, path, merge=self.merge_rows)
        warnings = (*table.warnings, *loose, *repeated)
        missing_rows = tuple({row.file: row for row in table.rows if row.file in missing}.values())
        return replace(table, rows=tuple(rows), warnings=warnings, missing=missing, missing_rows=missing_rows)

    def _rows_of_folders(self) -> Table:
        """An image below animals/birds has both tags; top folders train, val and test are splits and no tags."""
        files, _ = image_files(self.root / name for name in sorted(relative_paths(self.root)))
        missing, paths = {}, []
        for name in (file.relative_to(self.root).as_posix() for file in files):
            if not is_utf8(name):
                missing[ascii(name)] = "expected a name in UTF-8, got another encoding"
            elif is_dead_link(self.root / name):
                missing[name] = f"{self.root / name}: a symbolic link to a missing file"
            else:
                paths.append(PurePosixPath(name))
        split = bool(paths) and all(path.parts[0].lower() in SPLIT_NAMES for path in paths)
        rows = []
        for line, path in enumerate(paths, start=1):
            tags = tuple(dict.fromkeys(part.strip() for part in path.parent.parts[split:]))
            rows.append(Row(line, str(path), tags, (), SPLIT_NAMES[path.parts[0].lower()] if split else None))
        if not any(row.tags for row in rows):
            raise ValueError(
                f"{self.root}: expected sub-folders with images, whose names are labels, got none; set table: FILE, or "
                "set root: FOLDER"
            )
        labelled, labels, warnings = label_rows(self.root, rows, (), self)
        return Table(tuple(labelled), labels, "folders", warnings, missing=missing)

    def _sample(self, row: Row, labels: Labels, groups: dict[str, str]) -> Sample:
        try:
            positives, unknown = (tuple(sorted(set(map(labels.index, tags)))) for tags in (row.tags, row.unknown))
        except ValueError as cause:
            raise ValueError(f"{self._path()}, line {row.line}: {cause}") from None
        group = groups.get(row.file, row.file)
        return Sample(row.file, self.root / row.file, positives, group, unknown=unknown)

    def _path(self) -> Path:
        return self.root / self.table

    def _unlabelled_folder(self) -> Path:
        assert self.unlabelled is not None
        folder = self.root / self.unlabelled
        if not folder.is_dir():
            raise ValueError(f"unlabelled: expected a folder with images, got nothing at {folder}")
        return folder

    def _unlabelled(self, in_table: set[Path]) -> tuple[list[Sample], tuple[Finding, ...]]:
        """The images of the unlabelled folder that the table does not name, sorted by name; and unsupported files."""
        folder = self._unlabelled_folder()
        files, unread = image_files(folder / inside for inside in sorted(relative_paths(folder)))
        samples = []
        for file in files:
            name = file.relative_to(self.root).as_posix() if file.is_relative_to(self.root) else file.as_posix()
            if file not in in_table:
                samples.append(Sample(name, file, (), name, labelled=False))
        claim = "Some files without tags are images of unsupported formats."
        return samples, (Finding(claim, f"{unread_images(unread)}."),) if unread else ()


def _complete(splits: dict[str, list[Sample]]) -> dict[str, list[Sample]]:
    """Add the splits that the table does not name."""
    if splits["val"] and not splits["test"]:
        splits = {**splits, "val": [], "test": splits["val"]}
    if not splits["val"] and splits["test"] and splits["train"]:
        splits = {**splits, **split_by_hash(splits["train"], train_val(VAL_SHARE))}
    return splits
