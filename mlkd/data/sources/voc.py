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
    LABELS_WITH_IMAGES,
    SOURCE_SPLITS,
    Box,
    Corners,
    Finding,
    ImageSource,
    LeftOut,
    Listing,
    Sample,
    count_labels_with_images,
    rank_boxes,
)
from mlkd.data.paths import fingerprint_files, fingerprint_folders, is_file, read_text
from mlkd.data.splits import check_val_share, split_by_hash, train_val

VOC_LABELS = Labels(
    (
        *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
        *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
    )
)
MISSING, UNREADABLE = "missing file", "unreadable annotation"  # reasons for which images are left out
PUBLISHED = {"VOC2007": {"trainval": 5011, "test": 4952}, "VOC2012": {"trainval": 11540}}  # images in the lists


@dataclass(frozen=True, kw_only=True)
class Voc(ImageSource):
    """Pascal VOC trainval and test of one year; a share of trainval becomes val, by hash of the name.

    `root` is the folder VOC2007 itself, or one that contains VOC2007 or VOCdevkit/VOC2007.
    """

    kind: Literal["voc"] = "voc"
    root: Path
    year: Literal["VOC2007", "VOC2012"] = "VOC2007"
    val_share: float = 0.15
    difficult: bool = True  # true: objects marked difficult are positives; false: their labels are unknown

    def __post_init__(self) -> None:
        check_val_share(self.val_share)

    def fingerprint(self) -> str:
        """Hash names, sizes and times of the lists, the annotations and the images."""
        folder = self._folder()
        files = [file for part in ("ImageSets/Main", "Annotations") for file in (folder / part).iterdir()]
        return fingerprint_files(files, folder)[:32] + fingerprint_folders(folder / "JPEGImages")[:32]

    def _folder(self) -> Path:
        places = (self.root, self.root / self.year, self.root / "VOCdevkit" / self.year)
        parts = ("ImageSets/Main", "Annotations", "JPEGImages")
        for place in places:
            if all((place / part).is_dir() for part in parts):
                return place
        raise ValueError(
            f"root: expected the folders {', '.join(parts)} in one of {', '.join(map(str, places))}, got none; "
            f"unpack both archives, {self.year} trainval and test, into one folder and name it"
        )

    def read(self, work: Path, progress: Progress) -> Listing:  # noqa: ARG002  (only scenes write)
        """List the images; one without file or readable annotation is skipped and named."""
        folder = self._folder()
        reader = _Reader(folder, self.difficult)
        samples = {part: reader.read(part, progress) for part in ("trainval", "test")}
        bounds = train_val(self.val_share)
        splits = {**split_by_hash(samples["trainval"], bounds), "test": samples["test"]}
        return Listing(
            VOC_LABELS,
            {split: splits[split] for split in SOURCE_SPLITS},
            f"Pascal {self.year}",
            ("Flickr terms of use",),
            skipped=reader.left_out.causes,
            published=True,
            expected=PUBLISHED[self.year] | {LABELS_WITH_IMAGES: len(VOC_LABELS)},
            actual={part: len(some) for part, some in samples.items()} | count_labels_with_images(samples),
            bounds=bounds,
            declared={name: reader.declared[label] for label, name in enumerate(VOC_LABELS.names)},
            left_out=reader.left_out.labels,
            findings=tuple(reader.findings),
        )


class _UnreadableError(ValueError):
    """Why an annotation cannot be used."""


class _Reader:
    """Reads the images of the lists; counts what the annotations declare, and what is left out."""

    def __init__(self, folder: Path, difficult: bool) -> None:
        self.folder, self.difficult = folder, difficult
        self.left_out = LeftOut(MISSING, UNREADABLE)
        self.declared: Counter[int] = Counter()
        self.findings: list[Finding] = []

    def read(self, part: str, progress: Progress) -> list[Sample]:
        names = _names(self.folder / "ImageSets" / "Main" / f"{part}.txt")
        repeated = [name for name, count in Counter(names).items() if count > 1]
        if repeated:
            numbers = f"{part}.txt: {len(repeated)}, such as {', '.join(repeated[:5])}. Each is one image."
            self.findings.append(Finding("Some names are in a list more than once.", numbers, note=True))
        samples = []
        for done, name in enumerate(dict.fromkeys(names)):
            if done % 500 == 0:
                progress(f"annotations, {part}", done, len(names))
            samples += self._sample(name)
        return samples

    def _sample(self, name: str) -> list[Sample]:
        """The image as a list; an empty list if it is left out."""
        file, annotation = self.folder / "JPEGImages" / f"{name}.jpg", self.folder / "Annotations" / f"{name}.xml"
        if not is_file(annotation):
            self.left_out.add(MISSING, name, f"missing file {annotation}")
            return []
        try:
            sample = self._annotated(file, annotation, name)
        except _UnreadableError as cause:
            self.left_out.add(UNREADABLE, name, f"unreadable annotation {annotation}: {cause}")
            return []
        self.declared.update(sample.positives)
        if not is_file(file):
            self.left_out.add(MISSING, name, f"missing file {file}", sample.positives)
            return []
        return [sample]

    def _annotated(self, file: Path, annotation: Path, name: str) -> Sample:
        """Raises _UnreadableError for an annotation that is no XML, or has no size or corners."""
        try:
            tree = ET.parse(annotation).getroot()
        except (ET.ParseError, LookupError, ValueError, OSError) as cause:  # an unknown encoding is a LookupError
            raise _UnreadableError(str(cause)) from None
        boxes, doubtful = self._boxes(tree, annotation)
        positives = {box.label for box in boxes}
        return Sample(name, file, tuple(sorted(positives)), name, boxes, tuple(sorted(doubtful - positives)))

    def _boxes(self, tree: ET.Element, annotation: Path) -> tuple[tuple[Box, ...], set[int]]:
        """The boxes of the objects that count, and the labels of those that do not."""
        width, height = (_number(tree, f"size/{side}") for side in ("width", "height"))
        if width <= 0 or height <= 0:
            raise _UnreadableError(f"size is {width:g} x {height:g}")
        boxes: list[tuple[float, int, Corners]] = []
        doubtful: set[int] = set()
        for element in tree.iter("object"):
            if not self.difficult and element.findtext("difficult", "0").strip() == "1":
                doubtful.add(_label(element, annotation))
                continue
            x0, y0, x1, y1 = (_number(element, f"bndbox/{corner}") for corner in ("xmin", "ymin", "xmax", "ymax"))
            corners = ((x0 - 1) / width, (y0 - 1) / height, x1 / width, y1 / height)  # VOC counts pixels from 1
            boxes.append(((x1 - x0) * (y1 - y0), _label(element, annotation), corners))
        return rank_boxes(boxes), doubtful


def _label(element: ET.Element, annotation: Path) -> int:
    try:
        return VOC_LABELS.index(element.findtext("name", "").strip())
    except ValueError as cause:
        raise ValueError(f"{annotation}: {cause}") from None


def _number(element: ET.Element, path: str) -> float:
    text = element.findtext(path)
    if text is None:
        raise _UnreadableError(f"no {path}")
    try:
        if math.isfinite(number := float(text)):
            return number
    except ValueError:
        pass
    raise _UnreadableError(f"{path} is {text!r}, not a number")


def _names(file: Path) -> list[str]:
    if not file.is_file():
        raise ValueError(f"root: expected the list {file}, got none; unpack both archives, trainval and test")
    names = [line.split()[0] for line in read_text(file).splitlines() if line.strip()]
    if not names:
        raise ValueError(f"{file}: expected a name in each line, got none; unpack the list again")
    return names
