"""NUS-WIDE in its official layout: ImageList, ConceptsList, TrainTestLabels, and images below Flickr or images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mlkd.core.labels import Labels
from mlkd.core.progress import Progress
from mlkd.data.base import (
    Finding,
    Listing,
    Sample,
    fingerprint_files,
    fingerprint_names,
    is_file,
    names_below,
    read_utf8,
)
from mlkd.data.sources.published import LABELS, labels_with_images
from mlkd.data.splits import carve, check_val_share, held_out

PARTS = ("Train", "Test")
PUBLISHED = {"Train images": 161_789, "Test images": 107_859, LABELS: 81}


@dataclass(frozen=True, kw_only=True)
class NusWide:
    """Train (a share of it becomes val, by hash of the name, fair to rare labels) and Test, with the 81 concepts.

    Labels are in the order of Concepts81.txt.  TrainTestLabels may lie in `root` or in root/Groundtruth, images as
    in the lists or all in one folder.  Many images have no label; they are kept.
    """

    kind: Literal["nuswide"] = "nuswide"
    root: Path
    val_share: float = 0.05

    def __post_init__(self) -> None:
        check_val_share(self.val_share)

    def needs_fetch(self) -> bool:
        """Never: the images are the user's."""
        return False

    def fingerprint(self) -> str:
        """Names and sizes of the lists, names of the images."""
        lists = [file for file in self._lists() if file.is_file()]
        return fingerprint_files(lists, self.root)[:32] + fingerprint_names(self._images())[:32]

    def _lists(self) -> list[Path]:
        names = [self.root / "ImageList" / f"{part}Imagelist.txt" for part in PARTS]
        concepts = self.root / "ConceptsList" / "Concepts81.txt"
        return [*names, self.root / "ImageList" / "Imagelist.txt", concepts, *sorted(self._labels().iterdir())]

    def _labels(self) -> Path:
        return _first_folder(self.root, ("TrainTestLabels", "Groundtruth/TrainTestLabels"))

    def _images(self) -> Path:
        return _first_folder(self.root, ("Flickr", "images"))

    def read(self, work: Path, progress: Progress) -> Listing:  # noqa: ARG002  (only scenes write)
        """List the images; one whose file is missing is skipped and named."""
        labels = _concepts(self.root / "ConceptsList" / "Concepts81.txt")
        lists = {part: _lines(self.root / "ImageList" / f"{part}Imagelist.txt") for part in PARTS}
        self._check_total(sum(map(len, lists.values())))
        folder = self._images()
        there = set(names_below(folder))
        skipped: dict[str, str] = {}
        left_out: list[tuple[int, ...]] = []
        parts: dict[str, list[Sample]] = {}
        declared = np.zeros(len(labels), dtype=np.int64)
        findings: list[Finding] = []
        for done, (part, names) in enumerate(lists.items()):
            progress("lists", done, len(lists))
            targets = _targets(self._labels(), part, labels, len(names))
            names, targets, repeated = _without_repeated(
                self.root / "ImageList" / f"{part}Imagelist.txt", names, targets
            )
            findings += repeated
            declared += targets.sum(0)
            parts[part], lost = _found(names, targets, folder, there, skipped)
            left_out += lost
        bounds = held_out(self.val_share)
        train = carve(parts["Train"], bounds)
        return Listing(
            labels,
            {"train": train["train"], "val": train["val"], "test": parts["Test"]},
            "NUS-WIDE",
            ("Flickr terms of use",),
            skipped=skipped,
            published=True,
            expected=PUBLISHED,
            found={f"{part} images": len(samples) for part, samples in parts.items()}
            | {LABELS: labels_with_images(parts)},
            bounds=bounds,
            declared=dict(zip(labels.names, declared.tolist(), strict=True)),
            left_out={"missing file": left_out},
            findings=tuple(findings),
        )

    def _check_total(self, count: int) -> None:
        file = self.root / "ImageList" / "Imagelist.txt"
        total = len(_lines(file)) if file.is_file() else count
        if total != count:
            raise ValueError(
                f"{file}: expected {count} lines as in TrainImagelist.txt and TestImagelist.txt together, got {total}; "
                "take all three from one archive"
            )


def _first_folder(root: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise ValueError(f"root: expected the folder {' or '.join(names)} in {root}, got none; see README for the layout")


def _lines(file: Path) -> list[str]:
    if not file.is_file():
        raise ValueError(f"root: expected the list {file}, got none; unpack ImageList and ConceptsList into the root")
    return [line.strip() for line in read_utf8(file).splitlines() if line.strip()]


def _concepts(file: Path) -> Labels:
    names = tuple(_lines(file))
    try:
        return Labels(names)
    except ValueError as cause:
        raise ValueError(f"{file}: {cause}") from None


def _targets(folder: Path, part: str, labels: Labels, count: int) -> NDArray[np.bool_]:
    """(count, L) from one file a label, each with a 0 or 1 a line."""
    targets = np.zeros((count, len(labels)), dtype=np.bool_)
    for column, name in enumerate(labels.names):
        file = folder / f"Labels_{name}_{part}.txt"
        if not is_file(file):
            raise ValueError(f"root: expected the labels {file}, got none; unpack Groundtruth into the root")
        values = np.array(read_utf8(file).split(), dtype=np.str_)
        if len(values) != count:
            raise ValueError(
                f"{file}: expected {count} lines as in {part}Imagelist.txt, got {len(values)}; take both anew"
            )
        wrong = np.flatnonzero((values != "0") & (values != "1"))
        if len(wrong):
            raise ValueError(f"{file}, line {wrong[0] + 1}: expected 0 or 1, got {str(values[wrong[0]])!r}")
        targets[:, column] = values == "1"
    return targets


def _without_repeated(
    file: Path, names: list[str], targets: NDArray[np.bool_]
) -> tuple[list[str], NDArray[np.bool_], list[Finding]]:
    """A name that a list has twice is one image.  Raises ValueError where its labels differ."""
    first: dict[str, int] = {}
    for row, name in enumerate(names):
        if (targets[first.setdefault(name, row)] != targets[row]).any():
            raise ValueError(
                f"{file}, line {row + 1}: expected the labels of line {first[name] + 1} for the same name {name!r}, "
                "got others; remove one of the two from all lists"
            )
    repeated = len(names) - len(first)
    numbers = f"{file.name}: {repeated}. Each is one image."
    found = [Finding("Some names stand in a list more than once.", numbers, note=True)]
    return list(first), targets[list(first.values())], found if repeated else []


def _found(
    names: list[str], targets: NDArray[np.bool_], folder: Path, there: set[str], skipped: dict[str, str]
) -> tuple[list[Sample], list[tuple[int, ...]]]:
    """The images that are there, and the labels of those that are not."""
    samples, left_out = [], []
    for line, row in zip(names, targets, strict=True):
        path = PureWindowsPath(line)  # the lists have backslashes; slashes are read as well
        name = path.as_posix()
        inside = name if name in there else path.name
        positives = tuple(int(label) for label in np.flatnonzero(row))
        if inside in there:
            samples.append(Sample(name, folder / inside, positives, name))
        else:
            left_out.append(positives)
            skipped[name] = f"missing file {folder / name}"
    return samples, left_out
