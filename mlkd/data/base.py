"""The types that every data source returns."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from mlkd.core.labels import Labels
from mlkd.core.progress import Progress
from mlkd.data.shard_index.member import Member
from mlkd.data.shard_index.order import Order

SOURCE_SPLITS = ("train", "val", "test")
LABELS_WITH_IMAGES = "labels with images"  # a count of a published data set


@dataclass(frozen=True, slots=True)
class Box:
    """Bounding box of one object: label column, and corners as fractions 0..1 of width and height."""

    label: int
    x0: float
    y0: float
    x1: float
    y1: float
    role: Literal["major", "minor"]


Corners = tuple[float, float, float, float]  # x0, y0, x1, y1 as fractions of width and height


def rank_boxes(objects: Iterable[tuple[float, int, Corners]]) -> tuple[Box, ...]:
    """Turn objects (area, label, corners) into boxes, largest first; the largest is the major one."""
    by_size = sorted(objects, key=lambda item: -item[0])
    return tuple(
        Box(label, *corners, role="minor" if rank else "major") for rank, (_, label, corners) in enumerate(by_size)
    )


@dataclass(frozen=True)
class Sample:
    """One image file with its labels."""

    name: str  # unique in the data set
    file: Path | Member
    positives: tuple[int, ...]  # columns of the labels that the image has
    group: str  # images of one group stay in one split
    boxes: tuple[Box, ...] = ()  # of the objects, where the source has them
    unknown: tuple[int, ...] = ()  # columns of labels whose value is not known
    labelled: bool = True  # False where nobody annotated it: all columns are unknown, and only train may have it
    shared: tuple[
        str, ...
    ] = ()  # names of all else that it has in common with other images, which makes them dependent
    movable: bool = field(default=False, compare=False)  # whether the project chose its split and may change it

    def __post_init__(self) -> None:
        assert not set(self.positives) & set(self.unknown), f"{self.name}: a label is both positive and unknown"
        assert self.labelled or not self.positives, f"{self.name}: an unlabelled image has positives"


@dataclass(frozen=True)
class Finding:
    """A statement about the data, with the numbers and names that support it.

    A `note` is information only.  Any other finding may distort the results or asks the user to act.
    """

    claim: str
    numbers: str
    note: bool = False


Bounds = Sequence[tuple[float, str]]  # upper bounds of the name's hash, ascending to 1, each with its split
LeftOutLabels = Mapping[str, Sequence[tuple[int, ...]]]  # for every reason the label columns of each image left out


class LeftOut:
    """The images that are left out: the cause of each by name, and the labels of each by reason."""

    def __init__(self, *reasons: str) -> None:
        self.causes: dict[str, str] = {}
        self.labels: dict[str, list[tuple[int, ...]]] = {reason: [] for reason in reasons}

    def add(self, reason: str, name: str, cause: str, positives: tuple[int, ...] = ()) -> None:
        """Count the image under `reason`, one of those given at the start, and record its cause."""
        self.causes[name] = cause
        self.labels[reason].append(positives)


@dataclass(frozen=True)
class Listing:
    """What a source contains."""

    labels: Labels
    splits: dict[str, list[Sample]]  # of train, val and test
    provenance: str  # where the images are from, in words
    licences: tuple[str, ...] = ()  # of images and annotations
    composed: bool = False  # whether the project composed the images from parts; then equal parts are no copies
    skipped: dict[str, str] = field(default_factory=dict)  # for each image that was left out, by name, the cause
    published: bool = False  # whether the splits are: an image in two is dropped from the less important, not refused
    expected: dict[str, int] = field(default_factory=dict)  # counts of the published data set
    actual: dict[str, int] = field(default_factory=dict)  # the same counts of the files on disk
    bounds: Bounds = ()  # those that assigned the movable images to splits
    declared: dict[str, int] = field(default_factory=dict)  # images of each label in the source's files, if it has such
    left_out: LeftOutLabels = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    streamed: Order | None = None  # of the training images, where they stay in shards and no arrays are made of them


class ImageSource(Protocol):
    """Base of all data sources: frozen dataclasses that are read straight from the recipe."""

    def needs_fetch(self) -> bool:
        """Whether the image packages have to be fetched before `read`: not where the images are the user's own."""
        return False

    def fingerprint(self) -> str:
        """Cheap identity of the input: names, sizes and modification times of files, no contents of images."""

    def read(self, work: Path, progress: Progress) -> Listing:
        """List the images; `work` is a folder for those that the source generates itself."""


def count_labels_with_images(splits: Mapping[str, Iterable[Sample]]) -> dict[str, int]:
    """Count the labels that at least one image has, under the name that published counts use."""
    found = {label for part in splits.values() for sample in part for label in sample.positives}
    return {LABELS_WITH_IMAGES: len(found)}


def join_names(names: Collection[str], limit: int) -> str:
    """Join the first `limit` names with commas, and say how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(list(names)[:limit]) + more


def hash_fraction(name: str) -> float:
    """Map a name to a number in 0..1, so that splits do not change when images are added."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") / 2**48


def normal_spelling(name: str) -> str:
    """Remove differences of case, spaces and Unicode form."""
    return " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).split())
