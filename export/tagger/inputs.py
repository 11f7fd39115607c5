"""Image sources: finds the images that a command line names, and decodes files, bytes, Pillow images and arrays."""

from __future__ import annotations

import glob
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mlkd.core import images as decoding
from mlkd.core.image_kinds import SUFFIXES, image_files, unread_images
from mlkd.core.images import UnreadableImageError

STANDARD_INPUT = "-"

ImageSource = Path | str | bytes | Image.Image | NDArray[np.uint8]


class ImageSources(NamedTuple):
    """The images in the order of the arguments, and errors by the name of an argument or folder."""

    images: list[Path | bytes]
    failed: list[tuple[str, UnreadableImageError]]


def find_images(arguments: Iterable[str], standard_input: BinaryIO | None) -> ImageSources:
    """List the images that the arguments name.

    A file may have any name.  A folder is searched recursively, in natural order (2 before 10), for what `image_files`
    recognizes; hidden files are skipped, links to folders are followed, and each folder is read once.  An argument with
    *, ? or [a-z] is a pattern unless a file has that name.
    """
    sources = ImageSources([], [])
    for argument in arguments:
        if argument == STANDARD_INPUT:
            sources.images.append(standard_input.read() if standard_input is not None else b"")  # None: closed
            continue
        matches = _matches(argument)
        if not matches:
            error = UnreadableImageError("expected an image, a folder or a pattern, got no match")
            sources.failed.append((argument, error))
        for match in matches:
            _add(match, sources)
    return sources


def decode_source(image: object, image_px: int) -> Image.Image:
    """Decode an `ImageSource` to an upright RGB image, possibly smaller than the file; an array keeps its size."""
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise UnreadableImageError(f"image array: expected uint8 (H, W, 3), got {image.dtype} {image.shape}")
        return Image.fromarray(np.ascontiguousarray(image))
    if isinstance(image, Image.Image):
        return decoding.from_pillow(image, image_px)
    if isinstance(image, (Path, bytes, str)):
        return decoding.decode(Path(image) if isinstance(image, str) else image, image_px)
    kind = type(image).__name__
    raise ValueError(f"image: expected a path, bytes, a Pillow image or an array, got {kind}; convert it")


def walk(folder: str, failed: list[tuple[str, UnreadableImageError]]) -> Iterator[os.DirEntry[str]]:
    """The files below a folder, in no order, and into `failed` errors of folders that cannot be read.

    Hidden files are skipped, links to folders are followed, and each folder is read once.
    """
    seen: set[tuple[int, int]] = set()
    waiting = deque([folder])
    while waiting:
        current = waiting.popleft()
        try:
            status = Path(current).stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(current) as listing:
                entries = [entry for entry in listing if not entry.name.startswith(".")]
        except OSError as cause:
            failed.append((current, UnreadableImageError(f"expected a readable folder, got {cause.strerror}")))
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                waiting.appendleft(entry.path)
            elif entry.is_symlink() and _is_folder(entry.path):
                waiting.append(entry.path)  # last, so that an image gets a path without links if it has one
            else:
                yield entry


def natural(path: str | Path) -> list[list[str | int]]:
    """Key that sorts paths part by part, ignoring case, numbers by their value."""
    parts = (re.split(r"([0-9]+)", part) for part in Path(path).parts)
    return [[int(piece) if index % 2 else piece.casefold() for index, piece in enumerate(part)] for part in parts]


def _matches(argument: str) -> list[str]:
    if os.path.lexists(argument) or not glob.has_magic(argument):
        return [argument] if argument else []
    return sorted(glob.glob(argument), key=natural)  # noqa: PTH207  (Path.glob takes no absolute pattern)


def _add(path: str, sources: ImageSources) -> None:
    if not _is_folder(path):
        sources.images.append(Path(path))
        return
    images, failed = _search(path)
    sources.images.extend(images)
    sources.failed.extend(failed)
    if not images and not failed:
        listed = ", ".join(SUFFIXES)
        sources.failed.append((path, UnreadableImageError(f"expected images in the folder ({listed}), got none")))


def _search(folder: str) -> tuple[list[Path], list[tuple[str, UnreadableImageError]]]:
    """Images below a folder, and errors of folders that cannot be read."""
    failed: list[tuple[str, UnreadableImageError]] = []
    images, unread = image_files([Path(entry.path) for entry in walk(folder, failed)])
    if unread:
        failed.append((folder, UnreadableImageError(f"expected {', '.join(SUFFIXES)}, got {unread_images(unread)}")))
    return sorted(images, key=natural), failed


def _is_folder(path: str) -> bool:
    return os.path.isdir(path)  # noqa: PTH112  (Path.is_dir raises where a folder may not be searched)
