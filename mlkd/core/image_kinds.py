"""Which files are images: kinds that are read, kinds that a plug-in of Pillow reads, and kinds that are only named."""

from __future__ import annotations

import contextlib
import functools
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from PIL import Image

SUFFIXES = (  # in small letters
    *(".jpg", ".jpeg", ".jfif", ".jpe", ".mpo", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"),
)
# Only these are tried, whatever a file is called: Pillow would run Ghostscript for an EPS.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF")
PLUGINS = {".heic": "HEIF", ".heif": "HEIF", ".hif": "HEIF", ".jxl": "JXL"}  # read where Pillow has a plug-in for them
UNREAD = (
    *PLUGINS,
    ".jp2",
    ".psd",
    ".dng",
    ".cr2",
    ".cr3",
    ".nef",
    ".arw",
    ".orf",
    ".rw2",
    ".raf",
)  # images all the same
NAMED = (*SUFFIXES, *UNREAD)  # how a name of an image can end
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\0", b"MM\0*")  # and those of WEBP and ftyp


@functools.cache
def plugins() -> dict[str, str]:
    """Suffixes and formats of PLUGINS that Pillow reads here; pillow-heif is used where it is installed."""
    with contextlib.suppress(ImportError):
        import pillow_heif  # type: ignore[import-not-found, unused-ignore]

        pillow_heif.register_heif_opener()
    known = Image.registered_extensions()
    return {suffix: known[suffix] for suffix in PLUGINS if suffix in known}


def image_files(files: Iterable[Path]) -> tuple[list[Path], dict[str, int]]:
    """The files that are tried as images, in their order, and of other images the number by suffix.

    The suffix decides, in capitals or small letters; a file without one is an image if its first bytes are an image's.
    """
    found: list[Path] = []
    unread: dict[str, int] = {}
    for file in files:
        suffix = file.suffix.lower()
        if suffix in SUFFIXES or (suffix in PLUGINS and suffix in plugins()) or (not suffix and _begins_as_image(file)):
            found.append(file)
        elif suffix in UNREAD:
            unread[suffix] = unread.get(suffix, 0) + 1
    return found, unread


def unread_images(by_suffix: Mapping[str, int]) -> str:
    """How many images of which suffix are not read, and how they would be; empty where there are none."""
    told = ", ".join(f"{count} {suffix}" for suffix, count in sorted(by_suffix.items()))
    if not told:
        return ""
    heif = any(PLUGINS.get(suffix) == "HEIF" for suffix in by_suffix)
    advice = "install pillow-heif, or convert them" if heif else "convert them"
    return f"{told}; {advice} to JPEG or PNG"


def _begins_as_image(file: Path) -> bool:
    try:
        if not stat.S_ISREG(file.stat().st_mode):  # a pipe would wait for ever
            return False
        with file.open("rb") as stream:
            head = stream.read(12)
    except OSError:
        return False
    return head.startswith(SIGNATURES) or head[8:] == b"WEBP" or (head[4:8] == b"ftyp" and head[8:10] in (b"av", b"he"))
