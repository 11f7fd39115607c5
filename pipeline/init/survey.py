"""Reads a user's folder of images, and describes it on one screen for the user to check."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

from mlkd.core.images import UnreadableImageError, decode
from mlkd.core.printable import is_utf8
from mlkd.core.progress import silent
from mlkd.data.base import Listing
from mlkd.data.sources.folder import Folder
from mlkd.data.sources.rows import Row, Table
from pipeline.init.contents import Contents
from pipeline.init.guesses import guess_source

DECODED = 200  # images that are decoded, evenly spaced
LEAST_IMAGES = 10  # for three splits
LEAST_POSITIVES = 3  # of some label: one for each of train, val and test
FEW = 10  # positives below which a label is hard to learn
RAREST = 10  # labels that are listed


@dataclass(frozen=True)
class Survey:
    """How to read the folder, what it contains, and what is wrong with it."""

    source: Folder
    contents: Contents
    result: Table
    listing: Listing
    unreadable: tuple[str, ...]
    decoded: int

    @property
    def positives(self) -> Counter[str]:
        """Images of each label."""
        return Counter(tag for row in self.result.rows for tag in row.tags)

    @property
    def not_in_table(self) -> int:
        """Number of images that the table does not name."""
        return len(set(self.contents.images) - {row.file for row in self.result.rows})

    def lines(self) -> list[str]:
        """Describe how the folder was read, warnings last."""
        rows, result, counts = self.result.rows, self.result, self.positives
        names = [f"{name} {counts[name]}" for name in sorted(result.labels, key=lambda name: -counts[name])]
        lines = [
            f"{self.source.root}: {self._format_source()}",
            f"images: {len(self.contents.images)} in the folder, {self._usable()} used, {len(result.missing)} missing, "
            f"{self.not_in_table} not in the table, {len(self.unreadable)} of {self.decoded} checked are unreadable",
            f"split: {self._format_split()}",
            f"labels: {len(result.labels)}; images of each: {_shorten(names, ', ', 20)}",
            f"rarest: {', '.join(self._rarest(RAREST))}",
            f"labels per image: {_histogram(rows)}",
            *self._untagged(),
            "examples:",
            *(f"  {row.file} → {', '.join(row.tags)}" for row in _examples(rows)),
        ]
        if result.unused:
            lines.append(f"columns not used: {_shorten(result.unused, ', ', 10)}")
        others = self.contents.describe(exclude=self._used_files())
        return lines + [f"not used: {line}" for line in others] + [f"warning: {text}" for text in self._warnings()]

    def _usable(self) -> str:
        """How many images can be read; an estimate if some that were checked cannot, and others were not checked."""
        rows = len(self.result.rows)
        about = "about " if self.unreadable and self.decoded < rows else ""
        return f"{about}{rows - round(rows * len(self.unreadable) / self.decoded)}"

    def _untagged(self) -> list[str]:
        count = sum(not (row.tags or row.unknown) for row in self.result.rows)
        return [f"images without a tag: {count}, negative for every label"] if count else []

    def _warnings(self) -> list[str]:
        few = sum(self.positives[name] < FEW for name in self.result.labels)
        lists = {
            f"labels have fewer than {FEW} images and are hard to learn": self._rarest(few),
            "rows have no image": list(self.result.missing),
            "images cannot be read": list(self.unreadable),
        }
        warnings = [f"{len(items)} {text}: {_shorten(items, '; ', 10)}" for text, items in lists.items() if items]
        if self.source.label_names is None and _are_numbers(self.result.labels):
            warnings.append("labels are numbers; if a file has their names, set label_names: FILE")
        return [*warnings, *self.result.warnings]

    def _format_source(self) -> str:
        if self.source.labels_from == "folders":
            return "labels from the names of the sub-folders"
        separator = f", tags separated by {self.source.separator!r}" if self.result.form == "tags" else ""
        return f"table {self.source.table} (form {self.result.form}, file column {self.source.file_column}{separator})"

    def _format_split(self) -> str:
        counts = ", ".join(f"{split} {len(images)}" for split, images in self.listing.splits.items())
        given = {row.split for row in self.result.rows}
        if len(given) == 1:
            return f"by hash of the file names: {counts}"
        missing = [split for split in ("val", "test") if split not in given]
        what = "sub-folders" if self.source.labels_from == "folders" else f"column {self.source.split_column}"
        return f"by {what}: {counts}" + (f" (given without {' and '.join(missing)})" if missing else "")

    def _rarest(self, count: int) -> list[str]:
        counts = self.positives
        rare = sorted(self.result.labels, key=lambda name: (counts[name], name))[:count]
        return [f"{name} {counts[name]}" for name in rare]

    def _used_files(self) -> list[str]:
        table = self.source.root / self.source.table if self.source.labels_from == "table" else None
        names = [table, self.source.label_names]
        folder = self.contents.folder
        return [file.relative_to(folder).as_posix() for file in names if file and file.is_relative_to(folder)]


def survey(folder: Path, given: Mapping[str, Any]) -> Survey:
    """Read the folder with the keys that the user gave and guesses for the others, and decode some of its images.

    Raises ValueError that names the options.
    """
    if not folder.is_dir():
        raise ValueError(f"folder: expected a folder with images, got nothing at {folder.absolute()}; check the path")
    if not is_utf8(str(folder.absolute())):
        raise ValueError(f"{folder}: expected a path in UTF-8, which a recipe can name, got other bytes; rename it")
    contents = Contents.read(Path(os.path.normpath(folder.absolute())))
    if "root" in given:
        contents = replace(contents, images=Contents.read(given["root"]).images)
    if not contents.images:
        lines = "".join(f"\n  {line}" for line in contents.describe())
        raise ValueError(f"{folder}: expected images, got none; set root: FOLDER for the folder that has them{lines}")
    source = guess_source(contents, given)
    result = source.read_rows()
    where = source.root if source.labels_from == "folders" else source.root / source.table
    positives = Counter(tag for row in result.rows for tag in row.tags)
    if len(result.rows) < LEAST_IMAGES or not positives:
        raise ValueError(
            f"{where}: expected at least {LEAST_IMAGES} images and one tag, got {len(result.rows)} images and "
            f"{len(positives)} tags; {len(result.missing)} of its files are not below {source.root}"
            + (", set file_column: NAME or set root: FOLDER" if result.missing else "")
        )
    _refuse_rare(where, positives)
    if "label_names" not in given:
        _refuse_numbers(where, result, contents)
    sample = result.rows[:: -(-len(result.rows) // DECODED)]
    unreadable = tuple(cause for row in sample if (cause := _unreadable_reason(source.root / row.file)))
    if len(unreadable) == len(sample):
        raise ValueError(f"{where}: expected images that can be read, got none; the first: {unreadable[0]}")
    return Survey(source, contents, result, _split(source, result), unreadable, len(sample))


def _split(source: Folder, result: Table) -> Listing:
    """The splits that the data stage will make.  Raises ValueError if one is empty."""
    listing = source.split_rows(result, silent)
    for split, images in listing.splits.items():
        if not images:
            raise ValueError(
                f"{source.root}: expected images in {split}, got none; set split_column: NAME of another column, or "
                "set split_column: null to split by hash"
            )
    return listing


def _refuse_rare(where: Path, positives: Counter[str]) -> None:
    name, most = positives.most_common(1)[0]
    if most < LEAST_POSITIVES:
        raise ValueError(
            f"{where}: expected a label with at least {LEAST_POSITIVES} images, one each for train, val and test, got "
            f"at most {most} ({name}); tag more images, or set tags_column: NAME"
        )


def _refuse_numbers(where: Path, result: Table, contents: Contents) -> None:
    if contents.names and _are_numbers(result.labels):
        names = contents.names[0]
        raise ValueError(
            f"{where}: expected label names, got the numbers {', '.join(result.labels[:5])}, …; {names} seems to have "
            f"their names; set label_names: {quote(names)}, or set label_names: none to keep the numbers"
        )


def _are_numbers(labels: Sequence[str]) -> bool:
    return all(re.fullmatch(r"-?\d+", name) for name in labels)


def _unreadable_reason(file: Path) -> str:
    try:
        decode(file, 64)
    except (UnreadableImageError, OSError) as cause:
        return str(cause)
    return ""


def _examples(rows: Sequence[Row]) -> list[Row]:
    """The first, the middle and the last row with tags."""
    tagged = [row for row in rows if row.tags]
    return [tagged[index] for index in sorted({0, len(tagged) // 2, len(tagged) - 1})]


def _histogram(rows: Sequence[Row]) -> str:
    counts = Counter(len(row.tags) for row in rows)
    mean = sum(number * count for number, count in counts.items()) / len(rows)
    return f"mean {mean:.1f}; " + ", ".join(f"{number}: {counts[number]}" for number in sorted(counts))


def _shorten(texts: Sequence[str], between: str, most: int) -> str:
    more = [f"… {len(texts) - most} more"] if len(texts) > most else []
    return between.join([*texts[:most], *more])
