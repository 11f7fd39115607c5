"""Pascal VOC in its official layout: JPEGImages, Annotations, ImageSets/Main."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlkd.core.labels import Labels
from mlkd.core.progress import Progress
from mlkd.data.base import (
    SOURCE_SPLITS,
    Box,
    Corners,
    Finding,
    Listing,
    Sample,
    fingerprint_files,
    fingerprint_names,
    is_file,
    ranked,
    read_utf8,
)
from mlkd.data.sources.published import LABELS, labels_with_images
from mlkd.data.splits import carve, check_val_share, held_out

VOC_LABELS = Labels(
    (
        *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
        *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
    )
)
MISSING, UNREADABLE = "missing file", "unreadable annotation"
PUBLISHED = {"VOC2007": {"trainval": 5011, "test": 4952}, "VOC2012": {"trainval": 11540}}  # images in the lists


@dataclass(frozen=True, kw_only=True)
class Voc:
    """trainval (a share of it becomes val, by hash of the name, fair to rare labels) and test of one year.

    `root` is the folder VOC2007 itself, or one that holds VOC2007 or VOCdevkit/VOC2007.
    """

    kind: Literal["voc"] = "voc"
    root: Path
    year: Literal["VOC2007", "VOC2012"] = "VOC2007"
    val_share: float = 0.15
    difficult: bool = True  # true: objects marked difficult are positives; false: their labels are unknown

    def __post_init__(self) -> None:
        check_val_share(self.val_share)

    def needs_fetch(self) -> bool:
        """Never: the images are the user's."""
        return False

    def fingerprint(self) -> str:
        """Names and sizes of the lists and annotations, names of the images."""
        folder = self._folder()
        files = [file for part in ("ImageSets/Main", "Annotations") for file in (folder / part).iterdir()]
        return fingerprint_files(files, folder)[:32] + fingerprint_names(folder / "JPEGImages")[:32]

    def _folder(self) -> Path:
        places = (self.root, self.root / self.year, self.root / "VOCdevkit" / self.year)
        parts = ("ImageSets/Main", "Annotations", "JPEGImages")
        for place in places:
            if all((place / part).is_dir() for part in parts):
                return place
        raise ValueError(
            f"root: expected the folders {', '.join(parts)} in one of {', '.join(map(str, places))}, got none; "
            f"unpack both archives, {self.year} trainval and test, into one place and name it"
        )

    def read(self, work: Path, progress: Progress) -> Listing:  # noqa: ARG002  (only scenes write)
        """List the images; one without file or readable annotation is skipped and named."""
        folder = self._folder()
        parts = {part: _Part(self, folder, part, progress) for part in ("trainval", "test")}
        samples = {name: part.samples for name, part in parts.items()}
        bounds = held_out(self.val_share)
        splits = {**carve(samples["trainval"], bounds), "test": samples["test"]}
        declared = sum((part.declared for part in parts.values()), Counter[int]())
        return Listing(
            VOC_LABELS,
            {split: splits[split] for split in SOURCE_SPLITS},
            f"Pascal {self.year}",
            ("Flickr terms of use",),
            skipped={name: cause for part in parts.values() for name, cause in part.skipped.items()},
            published=True,
            expected=PUBLISHED[self.year] | {LABELS: len(VOC_LABELS)},
            found={name: len(of_part) for name, of_part in samples.items()} | {LABELS: labels_with_images(samples)},
            bounds=bounds,
            declared={name: declared[label] for label, name in enumerate(VOC_LABELS.names)},
            left_out={
                reason: [labels for part in parts.values() for labels in part.left_out[reason]]
                for reason in (MISSING, UNREADABLE)
            },
            findings=tuple(finding for part in parts.values() for finding in part.findings),
        )

    def sample(self, file: Path, annotation: Path, name: str) -> Sample:
        """One image by its annotation.  Raises _UnreadableError for one that has no size, no corners, is no XML."""
        try:
            tree = ET.parse(annotation).getroot()
        except (ET.ParseError, LookupError, ValueError, OSError) as cause:  # an unknown encoding is a LookupError
            raise _UnreadableError(str(cause)) from None
        boxes, doubtful = self._boxes(tree, annotation)
        positives = {box.label for box in boxes}
        return Sample(name, file, tuple(sorted(positives)), name, boxes, tuple(sorted(doubtful - positives)))

    def _boxes(self, tree: ET.Element, annotation: Path) -> tuple[tuple[Box, ...], set[int]]:
        """All objects that count, the largest as the major one, and the labels of those that do not."""
        width, height = (_number(tree, f"size/{side}") for side in ("width", "height"))
        if width <= 0 or height <= 0:
            raise _UnreadableError(f"size is {width:g} x {height:g}")
        found: list[tuple[float, int, Corners]] = []
        doubtful: set[int] = set()
        for thing in tree.iter("object"):
            if not self.difficult and thing.findtext("difficult", "0").strip() == "1":
                doubtful.add(_label(thing, annotation))
                continue
            x0, y0, x1, y1 = (_number(thing, f"bndbox/{corner}") for corner in ("xmin", "ymin", "xmax", "ymax"))
            corners = ((x0 - 1) / width, (y0 - 1) / height, x1 / width, y1 / height)  # VOC counts pixels from 1
            label = _label(thing, annotation)
            found.append(((x1 - x0) * (y1 - y0), label, corners))
        return ranked(found), doubtful


class _UnreadableError(ValueError):
    """Why an annotation cannot be used."""


class _Part:
    """The images of one list; what is left out, and why."""

    def __init__(self, source: Voc, folder: Path, part: str, progress: Progress) -> None:
        self.samples: list[Sample] = []
        self.skipped: dict[str, str] = {}
        self.left_out: dict[str, list[tuple[int, ...]]] = {MISSING: [], UNREADABLE: []}
        self.declared: Counter[int] = Counter()
        names = _names(folder / "ImageSets" / "Main" / f"{part}.txt")
        repeated = [name for name, count in Counter(names).items() if count > 1]
        numbers = f"{part}.txt: {len(repeated)}, as {', '.join(repeated[:5])}. Each is one image."
        self.findings = (Finding("Some names stand in a list more than once.", numbers, note=True),) if repeated else ()
        for done, name in enumerate(dict.fromkeys(names)):
            if done % 500 == 0:
                progress(f"annotations, {part}", done, len(names))
            self._add(source, folder, name)

    def _add(self, source: Voc, folder: Path, name: str) -> None:
        file, annotation = folder / "JPEGImages" / f"{name}.jpg", folder / "Annotations" / f"{name}.xml"
        if not is_file(annotation):
            self._leave_out(name, MISSING, f"missing file {annotation}")
            return
        try:
            sample = source.sample(file, annotation, name)
        except _UnreadableError as cause:
            self._leave_out(name, UNREADABLE, f"unreadable annotation {annotation}: {cause}")
            return
        self.declared.update(sample.positives)
        if is_file(file):
            self.samples.append(sample)
        else:
            self._leave_out(name, MISSING, f"missing file {file}", sample.positives)

    def _leave_out(self, name: str, reason: str, cause: str, labels: tuple[int, ...] = ()) -> None:
        self.skipped[name] = cause
        self.left_out[reason].append(labels)


def _label(thing: ET.Element, annotation: Path) -> int:
    try:
        return VOC_LABELS.index(thing.findtext("name", "").strip())
    except ValueError as cause:
        raise ValueError(f"{annotation}: {cause}") from None


def _number(element: ET.Element, path: str) -> float:
    text = element.findtext(path)
    if text is None:
        raise _UnreadableError(f"no {path}")
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise _UnreadableError(f"{path} is {text!r}, no number")
    return number


def _names(file: Path) -> list[str]:
    if not file.is_file():
        raise ValueError(f"root: expected the list {file}, got none; unpack both archives, trainval and test")
    names = [line.split()[0] for line in read_utf8(file).splitlines() if line.strip()]
    if not names:
        raise ValueError(f"{file}: expected a name in each line, got none; unpack the list again")
    return names
