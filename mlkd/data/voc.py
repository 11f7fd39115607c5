"""Pascal VOC in its official layout: JPEGImages, Annotations, ImageSets/Main."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlkd.data.base import SOURCE_SPLITS, Box, Corners, Listing, Picture, fingerprint_files, fingerprint_names, ranked
from mlkd.data.carve import carve, check_val_share, held_out
from mlkd.data.published import LABELS, labels_with_pictures
from mlkd.labels import Labels
from mlkd.progress import Progress

VOC_LABELS = Labels(
    (
        *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
        *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
    )
)
PUBLISHED = {"VOC2007": {"trainval": 5011, "test": 4952}, "VOC2012": {"trainval": 11540}}  # pictures in the lists


@dataclass(frozen=True, kw_only=True)
class Voc:
    """trainval (a share of it becomes val, by hash of the name, fair to rare labels) and test of one year.

    `root` is the folder VOC2007 itself, or one that holds VOC2007 or VOCdevkit/VOC2007.
    """

    kind: Literal["voc"] = "voc"
    root: Path
    year: Literal["VOC2007", "VOC2012"] = "VOC2007"
    val_share: float = 0.15
    difficult: bool = True  # objects marked difficult count as positive; else their labels are unknown

    def __post_init__(self) -> None:
        check_val_share(self.val_share)

    def needs_fetch(self) -> bool:
        """Never: the pictures are the user's."""
        return False

    def fingerprint(self) -> str:
        """Names and sizes of the lists and annotations, names of the pictures."""
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
        """List the pictures; one without file or readable annotation is skipped and named."""
        folder = self._folder()
        skipped: dict[str, str] = {}
        parts = {part: self._part(folder, part, skipped, progress) for part in ("trainval", "test")}
        splits = {**carve(parts["trainval"], held_out(self.val_share)), "test": parts["test"]}
        return Listing(
            VOC_LABELS,
            {split: splits[split] for split in SOURCE_SPLITS},
            f"Pascal {self.year}",
            ("Flickr terms of use",),
            skipped=skipped,
            published=True,
            expected=PUBLISHED[self.year] | {LABELS: len(VOC_LABELS)},
            found={part: len(pictures) for part, pictures in parts.items()} | {LABELS: labels_with_pictures(parts)},
        )

    def _part(self, folder: Path, part: str, skipped: dict[str, str], progress: Progress) -> list[Picture]:
        names = _names(folder / "ImageSets" / "Main" / f"{part}.txt")
        pictures = []
        for done, name in enumerate(names):
            if done % 500 == 0:
                progress(f"annotations, {part}", done, len(names))
            picture = self._picture(folder, name)
            if isinstance(picture, str):
                skipped[name] = picture
            else:
                pictures.append(picture)
        return pictures

    def _picture(self, folder: Path, name: str) -> Picture | str:
        file = folder / "JPEGImages" / f"{name}.jpg"
        annotation = folder / "Annotations" / f"{name}.xml"
        for needed in (file, annotation):
            if not needed.is_file():
                return f"missing file {needed}"
        try:
            boxes, doubtful = self._boxes(annotation)
        except (ET.ParseError, TypeError, ZeroDivisionError) as cause:
            return f"unreadable annotation {annotation}: {cause}"
        positives = {box.label for box in boxes}
        return Picture(name, file, tuple(sorted(positives)), name, boxes, tuple(sorted(doubtful - positives)))

    def _boxes(self, annotation: Path) -> tuple[tuple[Box, ...], set[int]]:
        """All objects that count, the largest as the major one, and the labels of those that do not."""
        tree = ET.parse(annotation).getroot()
        width, height = (_number(tree, f"size/{side}") for side in ("width", "height"))
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


def _label(thing: ET.Element, annotation: Path) -> int:
    try:
        return VOC_LABELS.index(thing.findtext("name", "").strip())
    except ValueError as cause:
        raise ValueError(f"{annotation}: {cause}") from None


def _number(element: ET.Element, path: str) -> float:
    text = element.findtext(path)
    if text is None:
        raise TypeError(f"no {path}")
    try:
        return float(text)
    except ValueError:
        raise TypeError(f"{path} is {text!r}, no number") from None


def _names(file: Path) -> list[str]:
    if not file.is_file():
        raise ValueError(f"root: expected the list {file}, got none; unpack both archives, trainval and test")
    return [line.split()[0] for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
