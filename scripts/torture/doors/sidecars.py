"""XMP of photo applications, beside an image and inside."""

from __future__ import annotations

from pathlib import Path

from export.tagger.sidecars import write_tags
from export.tagger.xmp_tags import add_tags
from scripts.torture.doors.annotations import images

PATHS = [("animal", "cat"), ("owl",), ("a/b|c",)]


def sidecar(content: bytes, folder: Path) -> None:
    """A sidecar to which tags are added, twice: the second time nothing is missing."""
    image = folder / "photo.jpg"
    image.symlink_to(images() / "0.jpg")
    (folder / "photo.jpg.xmp").write_bytes(content)
    write_tags(image, PATHS)
    assert not write_tags(image, PATHS), "tags were added twice"


def embedded_xmp(content: bytes, folder: Path) -> None:  # noqa: ARG001
    """XMP that was in an image, for a new sidecar."""
    add_tags(None, PATHS, content)
