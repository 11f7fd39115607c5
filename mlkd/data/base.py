"""What every source of pictures hands over: pictures with labels, groups and boxes, in train, val and test."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from mlkd.labels import Labels
from mlkd.progress import Progress

SOURCE_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Box:
    """Where one object is: label column and corners as shares 0..1 of width and height."""

    label: int
    x0: float
    y0: float
    x1: float
    y1: float
    role: Literal["major", "minor"]


@dataclass(frozen=True)
class Picture:
    """One picture file, the columns of its labels, and the group that is resampled as one (its source)."""

    name: str
    file: Path
    positives: tuple[int, ...]
    group: str
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True)
class Listing:
    """Everything a source knows: `splits` has train, val and test, `skipped` says why a picture was left out."""

    labels: Labels
    splits: dict[str, list[Picture]]
    provenance: str
    licences: tuple[str, ...] = ()
    composed: bool = False
    skipped: dict[str, str] = field(default_factory=dict)


class PictureSource(Protocol):
    """What the pipeline asks of a source; a plain dataclass beside its owner, read straight from the recipe."""

    def needs_fetch(self) -> bool:
        """Whether the fetched picture packages have to be there before `read`."""

    def fingerprint(self) -> str:
        """Cheap identity of what would be read: names and sizes, no contents."""

    def read(self, work: Path, progress: Progress) -> Listing:
        """List the pictures; a source that makes them writes below `work`."""


def fingerprint_files(files: Iterable[Path], root: Path) -> str:
    """Hash of the names below `root` and the sizes of `files`; a missing file counts as size -1."""
    digest = hashlib.sha256()
    for file in sorted(files):
        size = file.stat().st_size if file.is_file() else -1
        digest.update(f"{file.relative_to(root).as_posix()}\0{size}\n".encode())
    return digest.hexdigest()


def share_of_name(name: str) -> float:
    """A number in 0..1 that depends on the name alone, for splits that stay when pictures are added."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") / 2**48
