"""Image file types: those that Pillow reads, those that need a plug-in, and those that are recognised but not read."""

from __future__ import annotations

import contextlib
import functools
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

SUFFIXES = (  # in lower case
    *(".jpg", ".jpeg", ".jfif", ".jpe", ".mpo", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"),
)
# Only these are opened, whatever the suffix: Pillow would run Ghostscript for an EPS.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF")
PLUGINS = {".heic": "HEIF", ".heif": "HEIF", ".hif": "HEIF", ".jxl": "JXL"}  # read where Pillow has a plug-in for them
# recognised as images, and not read
UNREAD = (*PLUGINS, ".jp2", ".psd", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf")
NAMED = (*SUFFIXES, *UNREAD)  # all suffixes of images
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\0", b"MM\0*")  # and those of WEBP and ftyp


@functools.cache
def plugins() -> dict[str, str]:
    """The suffixes and formats of PLUGINS that Pillow can read; registers pillow-heif if it is installed."""
    from PIL import Image

    with contextlib.suppress(ImportError):
        import pillow_heif  # type: ignore[import-not-found, unused-ignore]

        pillow_heif.register_heif_opener()
    registered = Image.registered_extensions()
    return {suffix: registered[suffix] for suffix in PLUGINS if suffix in registered}


def image_files(files: Iterable[Path]) -> tuple[list[Path], dict[str, int]]:
    """The files to read as images, in their order, and the number of images that cannot be read by suffix.

    The suffix decides, in upper or lower case; a file without a suffix is an image if its first bytes are an image's.
    """
    readable: list[Path] = []
    unread: dict[str, int] = {}
    for file in files:
        suffix = file.suffix.lower()
        if suffix in SUFFIXES or (suffix in PLUGINS and suffix in plugins()) or (not suffix and _begins_as_image(file)):
            readable.append(file)
        elif suffix in UNREAD:
            unread[suffix] = unread.get(suffix, 0) + 1
    return readable, unread


def unread_images(by_suffix: Mapping[str, int]) -> str:
    """A message with the numbers of unread images by suffix, and what to do; empty if there are none."""
    counts = ", ".join(f"{count} {suffix}" for suffix, count in sorted(by_suffix.items()))
    if not counts:
        return ""
    heif = any(PLUGINS.get(suffix) == "HEIF" for suffix in by_suffix)
    advice = "install pillow-heif, or convert them" if heif else "convert them"
    return f"{counts}; {advice} to JPEG or PNG"


def _begins_as_image(file: Path) -> bool:
    try:
        if not stat.S_ISREG(file.stat().st_mode):  # opening a pipe would block
            return False
        with file.open("rb") as stream:
            head = stream.read(12)
    except OSError:
        return False
    return head.startswith(SIGNATURES) or head[8:] == b"WEBP" or (head[4:8] == b"ftyp" and head[8:10] in (b"av", b"he"))
