"""Which images the words of a command line mean: files, folders, patterns, and `-` for bytes on standard input."""

from __future__ import annotations

import glob
import os
import re
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mlkd.core.image_kinds import SUFFIXES, image_files, unread_images
from mlkd.core.images import UnreadableImageError

STANDARD_INPUT = "-"


class Found(NamedTuple):
    """The images in the order of the words, and by name why a word or a folder gave none."""

    images: list[Path | bytes]
    failed: list[tuple[str, UnreadableImageError]]


def find(words: Iterable[str], standard_input: BinaryIO | None) -> Found:
    """Every image the words mean.

    A file is taken whatever its name is.  A folder is read with all below it, in the order a reader expects (2 before
    10): what `image_files` takes for an image, nothing hidden; links to folders are followed, a folder is read once.
    A pattern that the shell left alone (*, ?, [a-z]) is one where there is no such file.
    """
    found = Found([], [])
    for word in words:
        if word == STANDARD_INPUT:
            found.images.append(standard_input.read() if standard_input is not None else b"")  # None: closed
            continue
        matches = _matches(word)
        if not matches:
            found.failed.append((word, UnreadableImageError("expected an image, a folder or a pattern, got no match")))
        for match in matches:
            _add(match, found)
    return found


def natural(path: str | Path) -> list[list[str | int]]:
    """A key that sorts paths part by part, small letters as capitals, numbers by their value."""
    parts = (re.split(r"([0-9]+)", part) for part in Path(path).parts)
    return [[int(piece) if index % 2 else piece.casefold() for index, piece in enumerate(part)] for part in parts]


def _matches(word: str) -> list[str]:
    if os.path.lexists(word) or not glob.has_magic(word):
        return [word] if word else []
    return sorted(glob.glob(word), key=natural)  # noqa: PTH207  (Path.glob takes no absolute pattern)


def _add(path: str, found: Found) -> None:
    if not _is_folder(path):
        found.images.append(Path(path))
        return
    below, failed = _below(path)
    found.images.extend(below)
    found.failed.extend(failed)
    if not below and not failed:
        listed = ", ".join(SUFFIXES)
        found.failed.append((path, UnreadableImageError(f"expected images in the folder ({listed}), got none")))


def _below(folder: str) -> tuple[list[Path], list[tuple[str, UnreadableImageError]]]:
    """Images below a folder, and the folders that cannot be read."""
    files: list[Path] = []
    failed: list[tuple[str, UnreadableImageError]] = []
    seen: set[tuple[int, int]] = set()
    waiting = deque([folder])
    while waiting:
        where = waiting.popleft()
        try:
            status = Path(where).stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(where) as listing:
                entries = [entry for entry in listing if not entry.name.startswith(".")]
        except OSError as cause:
            failed.append((where, UnreadableImageError(f"expected a folder that can be read, got {cause.strerror}")))
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                waiting.appendleft(entry.path)
            elif entry.is_symlink() and _is_folder(entry.path):
                waiting.append(entry.path)  # after all that are no link: an image keeps its own path
            else:
                files.append(Path(entry.path))
    found, unread = image_files(files)
    if unread:
        failed.append((folder, UnreadableImageError(f"expected {', '.join(SUFFIXES)}, got {unread_images(unread)}")))
    return sorted(found, key=natural), failed


def _is_folder(path: str) -> bool:
    return os.path.isdir(path)  # noqa: PTH112  (Path.is_dir raises where a folder may not be searched)
