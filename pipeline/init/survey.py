"""Looks at a user's folder of images and says on one screen what was understood, for a person to check."""

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
from mlkd.core.progress import silent
from mlkd.data.base import Listing
from mlkd.data.sources.folder import Folder, Found
from mlkd.data.sources.rows import Row
from pipeline.init.contents import Contents
from pipeline.init.guesses import guess

LOOKED_AT = 200  # images that are decoded, evenly spread
LEAST_IMAGES = 10  # without which no three splits can be made
LEAST_POSITIVES = 3  # of some label: one for each of train, val and test
FEW = 10  # positives below which a label is hardly learnt
RAREST = 10  # labels that are listed


@dataclass(frozen=True)
class Survey:
    """How the folder is read, what was found, and what is wrong with it."""

    source: Folder
    contents: Contents
    found: Found
    listing: Listing
    unreadable: tuple[str, ...]
    looked_at: int

    @property
    def positives(self) -> Counter[str]:
        """Images of each label."""
        return Counter(tag for row in self.found.rows for tag in row.tags)

    @property
    def not_in_table(self) -> int:
        """Images of which the table says nothing."""
        return len(set(self.contents.images) - {row.file for row in self.found.rows})

    def lines(self) -> list[str]:
        """What was understood, warnings last."""
        rows, found, counts = self.found.rows, self.found, self.positives
        names = [f"{name} {counts[name]}" for name in sorted(found.labels, key=lambda name: -counts[name])]
        lines = [
            f"{self.source.root}: {self._how()}",
            f"images: {len(self.contents.images)} found, {self._usable()} used, {len(found.missing)} missing, "
            f"{self.not_in_table} not in the table, {len(self.unreadable)} of {self.looked_at} looked at unreadable",
            f"split: {self._split()}",
            f"labels: {len(found.labels)}; images of each: {_shortened(names, ', ', 20)}",
            f"rarest: {', '.join(self._rarest(RAREST))}",
            f"labels an image: {_histogram(rows)}",
            *self._untagged(),
            "rows as read:",
            *(f"  {row.file} → {', '.join(row.tags)}" for row in _three(rows)),
        ]
        if found.unused:
            lines.append(f"columns not used: {_shortened(found.unused, ', ', 10)}")
        others = self.contents.described(but=self._used())
        return lines + [f"not used: {line}" for line in others] + [f"warning: {text}" for text in self._warnings()]

    def _usable(self) -> str:
        """How many images can be read; an estimate where some that were looked at cannot, and others were not."""
        rows = len(self.found.rows)
        about = "about " if self.unreadable and self.looked_at < rows else ""
        return f"{about}{rows - round(rows * len(self.unreadable) / self.looked_at)}"

    def _untagged(self) -> list[str]:
        """How images without a tag are counted."""
        count = sum(not (row.tags or row.unknown) for row in self.found.rows)
        return [f"images without a tag: {count}, negative for every label"] if count else []

    def _warnings(self) -> list[str]:
        few = sum(self.positives[name] < FEW for name in self.found.labels)
        lists = {
            f"labels with fewer than {FEW} images, hardly learnt": self._rarest(few),
            "rows without an image": list(self.found.missing),
            "images cannot be read": list(self.unreadable),
        }
        found = [f"{len(items)} {text}: {_shortened(items, '; ', 10)}" for text, items in lists.items() if items]
        if self.source.label_names is None and _are_numbers(self.found.labels):
            found.append("labels are numbers; if a file has their names, say label_names: FILE")
        return [*found, *self.found.warnings]

    def _how(self) -> str:
        if self.source.labels_from == "folders":
            return "labels from the names of the sub-folders"
        between = f", {self.source.separator!r} between tags" if self.found.form == "tags" else ""
        return f"table {self.source.table} (form {self.found.form}, column {self.source.file_column}{between})"

    def _split(self) -> str:
        counts = ", ".join(f"{split} {len(images)}" for split, images in self.listing.splits.items())
        own = {row.split for row in self.found.rows}
        if len(own) == 1:
            return f"cut by hash of the file names: {counts}"
        missing = [split for split in ("val", "test") if split not in own]
        what = "sub-folders" if self.source.labels_from == "folders" else f"column {self.source.split_column}"
        return f"by {what}: {counts}" + (f" (no {' and no '.join(missing)} there)" if missing else "")

    def _rarest(self, count: int) -> list[str]:
        counts = self.positives
        rare = sorted(self.found.labels, key=lambda name: (counts[name], name))[:count]
        return [f"{name} {counts[name]}" for name in rare]

    def _used(self) -> list[str]:
        table = self.source.root / self.source.table if self.source.labels_from == "table" else None
        names = [table, self.source.label_names]
        folder = self.contents.folder
        return [file.relative_to(folder).as_posix() for file in names if file and file.is_relative_to(folder)]


def survey(folder: Path, told: Mapping[str, Any]) -> Survey:
    """Read the folder as told and as guessed, and look at its images.  Raises ValueError."""
    if not folder.is_dir():
        raise ValueError(f"folder: expected one with images, got nothing at {folder.absolute()}; check the path")
    contents = Contents.of(Path(os.path.normpath(folder.absolute())))
    if "root" in told:
        contents = replace(contents, images=Contents.of(told["root"]).images)
    if not contents.images:
        lines = "".join(f"\n  {line}" for line in contents.described())
        raise ValueError(f"{folder}: expected images, got none; say root: FOLDER where they are{lines}")
    source = guess(contents, told)
    found = source.found()
    where = source.root if source.labels_from == "folders" else source.root / source.table
    positives = Counter(tag for row in found.rows for tag in row.tags)
    if len(found.rows) < LEAST_IMAGES or not positives:
        raise ValueError(
            f"{where}: expected at least {LEAST_IMAGES} images and one tag, got {len(found.rows)} images and "
            f"{len(positives)} tags; {len(found.missing)} of its files are not below {source.root}"
            + (", say file_column: NAME or say root: FOLDER" if found.missing else "")
        )
    _refuse_rare(where, positives)
    if "label_names" not in told:
        _refuse_numbers(where, found, contents)
    sample = found.rows[:: -(-len(found.rows) // LOOKED_AT)]
    unreadable = tuple(cause for row in sample if (cause := _why_unreadable(source.root / row.file)))
    if len(unreadable) == len(sample):
        raise ValueError(f"{where}: expected images that can be read, got none; the first: {unreadable[0]}")
    return Survey(source, contents, found, _listing(source, found), unreadable, len(sample))


def _listing(source: Folder, found: Found) -> Listing:
    """The splits that the data stage will make.  Raises ValueError where one is empty."""
    listing = source.listing(found, silent)
    for split, images in listing.splits.items():
        if not images:
            raise ValueError(
                f"{source.root}: expected images in {split}, got none; say split_column: NAME for another column, or "
                "say split_column: null to cut the splits by hash"
            )
    return listing


def _refuse_rare(where: Path, positives: Counter[str]) -> None:
    name, most = positives.most_common(1)[0]
    if most < LEAST_POSITIVES:
        raise ValueError(
            f"{where}: expected a label with at least {LEAST_POSITIVES} images, one each to learn from, to choose by "
            f"and to test on, got at most {most} ({name}); tag more images, or say tags_column: NAME"
        )


def _refuse_numbers(where: Path, found: Found, contents: Contents) -> None:
    if contents.names and _are_numbers(found.labels):
        names = contents.names[0]
        raise ValueError(
            f"{where}: expected names of labels, got the numbers {', '.join(found.labels[:5])}, …; {names} looks as "
            f"if it had their names; say label_names: {quote(names)}, or say label_names: none to keep the numbers"
        )


def _are_numbers(labels: Sequence[str]) -> bool:
    return all(re.fullmatch(r"-?\d+", name) for name in labels)


def _why_unreadable(file: Path) -> str:
    try:
        decode(file, 64)
    except (UnreadableImageError, OSError) as cause:
        return str(cause)
    return ""


def _three(rows: Sequence[Row]) -> list[Row]:
    """The first, the middle and the last row, of those with tags."""
    tagged = [row for row in rows if row.tags]
    return [tagged[at] for at in sorted({0, len(tagged) // 2, len(tagged) - 1})]


def _histogram(rows: Sequence[Row]) -> str:
    counts = Counter(len(row.tags) for row in rows)
    mean = sum(number * count for number, count in counts.items()) / len(rows)
    return f"{mean:.1f}; " + ", ".join(f"{number}: {counts[number]}" for number in sorted(counts))


def _shortened(texts: Sequence[str], between: str, most: int) -> str:
    more = [f"… {len(texts) - most} more"] if len(texts) > most else []
    return between.join([*texts[:most], *more])
