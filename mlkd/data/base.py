"""What every source of images hands over: images with labels, groups and boxes, in train, val and test."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from mlkd.core.labels import Labels
from mlkd.core.progress import Progress

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


Corners = tuple[float, float, float, float]  # x0, y0, x1, y1 as shares of width and height


def ranked(objects: Iterable[tuple[float, int, Corners]]) -> tuple[Box, ...]:
    """Boxes of (area, label, corners), the largest first: it is the major one."""
    by_size = sorted(objects, key=lambda one: -one[0])
    return tuple(
        Box(label, *corners, role="minor" if rank else "major") for rank, (_, label, corners) in enumerate(by_size)
    )


@dataclass(frozen=True)
class Sample:
    """One image file, the columns of its labels, and the group that stays in one split (its source).

    `shared` names everything else that the image has in common with other images: statistics treat images that share
    a name as dependent.  `unknown` are the columns of which nobody knows; an image that is not `labelled` was looked at
    by nobody: all its columns are unknown, and only train may have it.  The split of a `carved` image is our choice.
    """

    name: str
    file: Path
    positives: tuple[int, ...]
    group: str
    boxes: tuple[Box, ...] = ()
    unknown: tuple[int, ...] = ()
    labelled: bool = True
    shared: tuple[str, ...] = ()
    carved: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        assert not set(self.positives) & set(self.unknown), f"{self.name}: a positive is known"
        assert self.labelled or not self.positives, f"{self.name}: positives without a label"


@dataclass(frozen=True)
class Finding:
    """A claim about the data, and the numbers and names that show it.

    A `note` only informs; anything else may make the numbers wrong, or the user should act on it.
    """

    claim: str
    numbers: str
    note: bool = False


Bounds = Sequence[tuple[float, str]]  # upper bounds of the hash, ascending to 1, each with its split


@dataclass(frozen=True)
class Listing:
    """Everything a source knows: `splits` has train, val and test, `skipped` says why an image was left out.

    `expected` and `found` count what a published set has and what is on the disk.  The splits of a `published` set are
    not ours to change: an image that is in two of them is left out of train, or of val, instead of refused.  `bounds`
    are those by which the images that are `carved` were dealt.

    `declared` has for every label the images that the source's own files give it, counted before anything is left out
    and not from the images; empty where the source has no such files.  `left_out` has for every reason the label
    columns of each image that the source left out.
    """

    labels: Labels
    splits: dict[str, list[Sample]]
    provenance: str
    licences: tuple[str, ...] = ()
    composed: bool = False
    skipped: dict[str, str] = field(default_factory=dict)
    published: bool = False
    expected: dict[str, int] = field(default_factory=dict)
    found: dict[str, int] = field(default_factory=dict)
    bounds: Bounds = ()
    declared: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, list[tuple[int, ...]]] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


class ImageSource(Protocol):
    """What the pipeline asks of a source; a plain dataclass beside its owner, read straight from the recipe."""

    def needs_fetch(self) -> bool:
        """Whether the fetched image packages have to be there before `read`."""

    def fingerprint(self) -> str:
        """Cheap identity of what would be read: names, sizes where the files are few, no contents."""

    def read(self, work: Path, progress: Progress) -> Listing:
        """List the images; a source that makes them writes below `work`."""


def fingerprint_files(files: Iterable[Path], root: Path) -> str:
    """Hash of the names below `root` and the sizes of `files`; a missing file counts as size -1."""
    digest = hashlib.sha256()
    for file in sorted(files):
        size = file.stat().st_size if file.is_file() else -1
        digest.update(f"{file.relative_to(root).as_posix()}\0{size}\n".encode())
    return digest.hexdigest()


def fingerprint_names(*folders: Path) -> str:
    """Hash of the names of all files below the folders, in lists and without a look at each file; none may be there."""
    digest = hashlib.sha256()
    for folder in folders:
        for name in sorted(names_below(folder)):
            digest.update(f"{name}\n".encode())
        digest.update(b"\0")
    return digest.hexdigest()


def names_below(folder: Path) -> Iterator[str]:
    """Paths of all files below `folder`, relative to it, with slashes; none where there is no such folder.

    Symbolic links to folders are followed, each folder once.
    """
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        links = {name for name in folders if (Path(place) / name).is_symlink()}
        folders[:] = [*sorted(set(folders) - links), *sorted(links)]
        inside = Path(place).relative_to(folder).as_posix()
        yield from files if inside == "." else (f"{inside}/{file}" for file in files)


def is_file(path: Path) -> bool:
    """Whether a file has this name; a name that no file can have is no error."""
    return os.path.isfile(path)  # noqa: PTH113  (Path.is_file raises for NUL and for names that are too long)


def is_dead_link(path: Path) -> bool:
    """Whether it is a symbolic link to nothing."""
    return path.is_symlink() and not path.exists()


def read_utf8(file: Path) -> str:
    """The text of a file.  Raises ValueError with its name, and with the line that is no UTF-8."""
    content = file.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        line = content.count(b"\n", 0, cause.start) + 1
        byte = f"byte 0x{content[cause.start]:02x}"
        raise ValueError(f"{file}, line {line}: expected text in UTF-8, got {byte}; save the file as UTF-8") from None


def share_of_name(name: str) -> float:
    """A number in 0..1 that depends on the name alone, for splits that stay when images are added."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") / 2**48
