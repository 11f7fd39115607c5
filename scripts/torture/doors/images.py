"""Image files: decoded for training and by the tagger."""

from __future__ import annotations

from pathlib import Path

from export.tagger.service.cost import check_cost
from mlkd.core import images
from mlkd.data.decode import decode_sizes

MOST_PIXELS = 4_000_000  # larger images are tried as well, but not by the thousand


def image(content: bytes, folder: Path) -> None:
    """Any bytes, as a file and in memory."""
    file = folder / "image.jpg"
    file.write_bytes(content)
    images.aspect(file)
    if images.declared_pixels(content) > MOST_PIXELS:
        return
    check_cost(content, MOST_PIXELS)
    images.embedded_xmp(file)
    decode_sizes(content, (16, 64))
    images.load(file, 16)


def large_image(content: bytes, folder: Path) -> None:
    """The same without a limit on pixels besides the product's own."""
    file = folder / "image.jpg"
    file.write_bytes(content)
    images.load(file, 16)
