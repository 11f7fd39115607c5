"""The images of a finished recipe with labels that a person corrected, and new images from the same tables."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mlkd.core.files import sha256_of
from mlkd.core.labels import Labels
from mlkd.core.progress import Progress
from mlkd.data.base import SOURCE_SPLITS, Finding, ImageSource, Listing, Sample, normal_spelling
from mlkd.data.paths import fingerprint_files
from mlkd.data.sources.corrections import Correction, Corrections, read_corrections
from mlkd.data.sources.folder import VAL_SHARE
from mlkd.data.splits import split_by_hash, train_val

if TYPE_CHECKING:
    from mlkd.data.prepared import Split

PARTS = ("json", "targets.npy", "known.npy")  # of a prepared split
Splits = dict[str, list[Sample]]


@dataclass(frozen=True, kw_only=True)
class Corrected(ImageSource):
    """The prepared images of a finished recipe, corrected by tables of `tagger.pyz tag --csv` with verdicts.

    Labels keep their columns; new ones follow and are unknown in all images whose row does not decide on them.  An
    image is recognized by its content and keeps its split; of several rows that decide on a label the last one wins.
    New images become train, a share of them val by the hash of their content, never test.
    """

    kind: Literal["corrected"] = "corrected"
    base: Path = field(metadata={"identity": False})  # runs/RECIPE/data of the finished recipe
    tables: tuple[Path, ...] = field(default=(), metadata={"identity": False})  # with verdicts; the last one wins
    root: Path | None = field(
        default=None, metadata={"identity": False}
    )  # folder to which the names in the tables are relative; null: each table's own folder
    new_labels: tuple[str, ...] = ()  # labels that the finished recipe does not have
    skip_bad_rows: bool = False  # leave out unreadable rows, and count them

    def fingerprint(self) -> str:
        """Hash the prepared labels and splits, the tables, and names, sizes and times of the images that they judge."""
        from mlkd.data.prepared import SPLITS

        rows = self.read_tables().rows
        prepared = [self.base / "labels.json", *(self.base / f"{name}.{part}" for name in SPLITS for part in PARTS)]
        digests = [sha256_of(file) for file in (*prepared, *self._tables()) if file.is_file()]
        digests.append(fingerprint_files({row.file for row in rows}, Path("/")))
        return hashlib.sha256("".join(digests).encode()).hexdigest()

    def read(self, work: Path, progress: Progress) -> Listing:  # noqa: ARG002  (only scenes write)
        """List the images.  Raises ValueError for bad rows, and where an image of the finished recipe is gone."""
        labels, corrections = self.all_labels(), self.read_tables()
        by_content: dict[str, list[Correction]] = {}
        for done, row in enumerate(corrections.rows):
            progress("corrections", done, len(corrections.rows))
            by_content.setdefault(row.content, []).append(row)
        splits, changes = self._corrected(labels, by_content)
        new = [_new_image(rows, len(labels)) for rows in by_content.values()]
        for split, samples in self._split_new(new, labels).items():
            splits[split] += samples
        about = json.loads((self.base / "about.json").read_text(encoding="utf-8"))
        checks = [Finding("The corrections need a check.", warning) for warning in corrections.warnings]
        return Listing(
            labels,
            splits,
            about["provenance"],
            tuple(about["licences"]),
            composed=about["composed"],
            bounds=train_val(VAL_SHARE),
            findings=(*checks, _summary(changes, len(new), corrections.unjudged), *self._one_sided(splits, labels)),
        )

    def read_tables(self) -> Corrections:
        """Read the rows of all tables.  Raises ValueError, also for a new label that no row gives to its image."""
        labels = self.all_labels()
        read = read_corrections(self._tables(), self.root, labels, self.new_labels, skip_bad_rows=self.skip_bad_rows)
        given = {column for row in read.rows for column in row.present}
        lacking = [name for name in self.new_labels if labels.index(name) not in given]
        if lacking:
            raise ValueError(
                f"new_labels: expected labels that a row with a verdict has among its tags, got {', '.join(lacking)}; "
                "add rows with them, or remove them"
            )
        return read

    def _tables(self) -> list[Path]:
        return [table.expanduser().absolute() for table in self.tables]

    def all_labels(self) -> Labels:
        """The labels of the finished recipe in their order, then the new ones.  Raises ValueError."""
        file = self.base / "labels.json"
        if not file.is_file():
            raise ValueError(f"base: expected the result of a stage data, got no {file}; run distill with its recipe")
        names = Labels.read(file).names
        known = {normal_spelling(name): name for name in names}
        for name in self.new_labels:
            spelling = normal_spelling(name)
            if spelling in known:
                raise ValueError(
                    f"new_labels: expected labels that {self.base} lacks, got {name}, which is {known[spelling]}; "
                    "remove it"
                )
            known[spelling] = name
        return Labels((*names, *self.new_labels))

    def _corrected(self, labels: Labels, by_content: dict[str, list[Correction]]) -> tuple[Splits, Counter[str]]:
        """The images of the finished recipe with their corrections, which are removed from `by_content`; and counts."""
        from mlkd.data.prepared import SPLITS, read_split

        splits: Splits = {split: [] for split in SOURCE_SPLITS}
        changes, used = Counter[str](), set[str]()
        for name in SPLITS:
            part = read_split(self.base, name)
            split = name if name in splits else "val"
            for row, content in enumerate(part.hashes):
                before = after = _prepared_image(part, row, len(labels))
                for correction in by_content.get(content, ()):
                    after = correction.apply(after)
                    used.add(content)
                splits[split].append(after)
                changes[split] += content in by_content
                changes["added"] += len(set(after.positives) - set(before.positives))
                changes["removed"] += len(set(before.positives) - set(after.positives))
        for content in used:
            del by_content[content]
        return splits, changes

    def _split_new(self, images: Sequence[Sample], labels: Labels) -> Splits:
        """Train and val of new images: only new labels need positives in both."""
        old = range(len(labels) - len(self.new_labels))
        judged = {image.name: image for image in images if image.labelled}
        keys = [replace(image, positives=tuple(set(image.positives) - set(old))) for image in judged.values()]
        splits = split_by_hash(keys, train_val(VAL_SHARE))
        found = {split: [replace(judged[key.name], movable=True) for key in part] for split, part in splits.items()}
        return {**found, "train": [*found["train"], *(image for image in images if not image.labelled)]}

    def _one_sided(self, splits: Splits, labels: Labels) -> list[Finding]:
        """Report new labels that no training image has, and those that none is known to lack."""
        columns = {name: labels.index(name) for name in self.new_labels}
        train = splits["train"]
        never = [name for name, at in columns.items() if not any(at in image.positives for image in train)]
        always = [name for name, at in columns.items() if all(at in image.positives + image.unknown for image in train)]
        findings = {
            "Some new labels are on no training image, so no model learns them.": (never, "with the label"),
            "Some new labels are absent from no training image, so a model learns to give them always.": (
                [name for name in always if name not in never],
                "with the verdict ok and without the label, or with !label",
            ),
        }
        return [
            Finding(claim, f"{', '.join(names)}. Add rows {advice}; corrected test images are not for training.")
            for claim, (names, advice) in findings.items()
            if names
        ]


def _prepared_image(part: Split, row: int, labels: int) -> Sample:
    """An image of the finished recipe; the labels after its own are unknown.  Raises ValueError."""
    import numpy as np

    if part.shards:
        raise ValueError(f"base: expected images in files, got shards in {part.folder}; use another kind of source")
    file, own = part.files[row], len(part.labels)
    if not file.is_file():
        raise ValueError(f"base: expected every image of {part.folder}, got nothing at {file}; restore it")
    known = np.ones(own, np.bool_) if part.label_mask is None else part.label_mask[row]
    return Sample(
        part.names[row],
        file,
        tuple(np.flatnonzero(part.targets[row] & known).tolist()),
        part.groups[row],
        part.boxes[row],
        (*np.flatnonzero(~known).tolist(), *range(own, labels)),
        labelled=bool(known.any()),
        shared=part.shared[row] if part.shared else (),
    )


def _new_image(rows: Sequence[Correction], labels: int) -> Sample:
    file = rows[-1].file
    image = Sample(file.as_posix(), file, (), rows[-1].content, unknown=tuple(range(labels)), labelled=False)
    for row in rows:
        image = row.apply(image)
    return image


def _summary(changes: Counter[str], new: int, unjudged: int) -> Finding:
    counts = ", ".join(f"{split} {changes[split]}" for split in SOURCE_SPLITS)
    numbers = (
        f"images of {counts}, {changes['added']} tags added, {changes['removed']} removed; up to {new} new images; "
    )
    return Finding("Labels were corrected:", f"{numbers}{unjudged} rows without a verdict were not read.", note=True)
