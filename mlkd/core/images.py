"""The preprocessing of training, calibration, evaluation and device: image bytes to uint8 (H, W, 3)."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mlkd.core.image_kinds import FORMATS, UNREAD, plugins, unread_images
from mlkd.core.image_values import brightened, declared_maximum, scaled, to_rgb

_log = logging.getLogger(__name__)

# How to get the same pixels elsewhere; stored in the manifest of a bundle.
PREPROCESSING = {
    "orientation": "EXIF applied",
    "colour": "RGB, alpha over white",
    "range": "8 bits; more bits by the brightest value, floats of 0..1 and 0..255 as they are, others by their range",
    "jpeg": "decoded at the smallest DCT scale that is at least twice image_px",
    "large": "more than 4,000,000 pixels as decoded: means of whole blocks, at least twice image_px a side are left",
    "resize": "plain, to a square, Pillow BILINEAR (antialiased)",
    "values": "uint8, normalisation is inside the model",
}


MOST_PIXELS = 90_000_000  # as decoded, after the reduction of a JPEG: 4 bytes a pixel, 360 MB; AVIF takes 11, WebP 16
LARGE = 4_000_000  # pixels: larger images are decoded one at a time and reduced first
BAND = 500_000  # pixels of a large image that are reduced at once
ORIENTATION = 0x0112  # EXIF tag
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImageError(ValueError):
    """An image cannot be decoded; the message names it and the cause."""


class _WithoutWarnings:
    """Hides Pillow's warnings about images that it can read, also where warnings are errors.

    All threads share one object: concurrent catch_warnings would restore each other's filters.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._filters = contextlib.ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._filters.enter_context(warnings.catch_warnings())
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._filters.close()


_without_warnings = _WithoutWarnings()
_one_large_image = threading.Lock()
_announced: set[str] = set()


def decode(source: Path | bytes, image_px: int) -> Image.Image:
    """Upright RGB image; a JPEG is decoded at a reduced scale of at least 2 * image_px a side.

    Only the first frame or page is decoded; alpha is laid over white; values of more than 8 bits are scaled, as
    `image_values.scaled` says.  Raises UnreadableImageError, also for a path that is no regular file.
    """
    name = source.name if isinstance(source, Path) else f"{len(source)} bytes"
    with _reading(name), _opened(source, image_px) as image:
        if image.width * image.height > MOST_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels, more than {MOST_PIXELS}")
        return _log_scaling(source, _decode_pixels(image, image_px))


def from_pillow(image: Image.Image, image_px: int) -> Image.Image:
    """As `decode`, for an image of any size that Pillow has opened.  Raises UnreadableImageError."""
    with _reading(name := f"image {image.size}"):
        return _log_scaling(name, _decode_pixels(image, image_px))


def reduced(source: Path | bytes, image_px: int) -> object:
    """A value that is equal for sizes at which `decode` returns equal images; None for an unreadable image."""
    try:
        with _reading(""), _opened(source, image_px) as image:
            return image.size, getattr(image, "decoderconfig", None)
    except UnreadableImageError:
        return None


def aspect(source: Path | bytes) -> float:
    """Width divided by height of the upright image, from the header alone.  Raises UnreadableImageError."""
    name = source.name if isinstance(source, Path) else f"{len(source)} bytes"
    with _reading(name), _stream(source) as stream, _identified(stream) as image:
        width, height = image.size
        turned = _orientation(image) >= 5
        return height / width if turned else width / height


def declared_pixels(source: Path | bytes) -> int:
    """Width times height in the header, before a JPEG is reduced.  Raises UnreadableImageError."""
    name = source.name if isinstance(source, Path) else f"{len(source)} bytes"
    with _reading(name), _stream(source) as stream, _identified(stream) as image:
        return image.width * image.height


def embedded_xmp(source: Path | bytes) -> bytes | None:
    """The XMP in an image; None if there is none, and for GIF and BMP.  Raises UnreadableImageError."""
    name = source.name if isinstance(source, Path) else f"{len(source)} bytes"
    with _reading(name), _stream(source) as stream, _identified(stream) as image:
        if image.format == "PNG" and image.width * image.height <= MOST_PIXELS:
            image.load()  # it may stand behind the pixels
        packet = image.info.get("xmp")
        return packet if isinstance(packet, bytes) else None


@contextlib.contextmanager
def _opened(source: Path | bytes, image_px: int) -> Iterator[Image.Image]:
    with _stream(source) as stream, _identified(stream) as image:
        image.draft("RGB", (2 * image_px, 2 * image_px))
        yield image


def _identified(stream: BinaryIO) -> Image.Image:
    try:
        return Image.open(stream, formats=FORMATS)
    except UnidentifiedImageError:
        if not plugins():
            raise
        stream.seek(0)
        return Image.open(stream, formats=tuple(plugins().values()))


def _decode_pixels(image: Image.Image, image_px: int) -> Image.Image:
    """The upright RGB image; large images are reduced first, one at a time."""
    large = image.width * image.height > LARGE
    with _one_large_image if large else contextlib.nullcontext():
        deep = any(";16" in str(tile.args) for tile in getattr(image, "tile", ()))  # Pillow drops the low bytes
        declared = declared_maximum(image)
        image.load()
        small = _reduce(image, image_px) if large else image
        turn = UPRIGHT.get(_orientation(image))
        small = small if turn is None else small.transpose(turn)
        return brightened(small) if deep and "I" not in image.mode else to_rgb(small, declared)


def _log_scaling(source: Path | bytes | str, image: Image.Image) -> Image.Image:
    """Log how the values were scaled, once for each kind of scaling; returns the image."""
    how = scaled(image)
    if how and how not in _announced:
        _announced.add(how)
        name = f"{len(source)} bytes" if isinstance(source, bytes) else source
        _log.warning("images: %s has %s; scaled to 8 bits, as in all later images", name, how)
    return image


def _reduce(image: Image.Image, image_px: int) -> Image.Image:
    """Block means of a loaded image, at least 2 * image_px a side, band by band; alpha is laid over white first."""
    across, down = (max(1, side // (2 * image_px)) for side in image.size)
    deep = "F" if image.mode == "F" else "I" if image.mode.startswith("I") else ""
    rows = down * max(1, BAND // (image.width * down))
    small = Image.new(deep or "RGB", (-(-image.width // across), -(-image.height // down)))
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        band = band.convert(deep) if deep else to_rgb(band)
        small.paste(band.reduce((across, down)), (0, top // down))
    return small


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    """Hide Pillow's warnings, and convert its exceptions to UnreadableImageError."""
    try:
        with _without_warnings:
            yield
    except FileNotFoundError:
        raise UnreadableImageError(f"image {name}: expected a file, got none of this name") from None
    except PermissionError:
        raise UnreadableImageError(
            f"image {name}: expected a file that this user may read, got no permission"
        ) from None
    except UnidentifiedImageError:
        formats = ", ".join((*FORMATS, *dict.fromkeys(plugins().values())))
        advice = unread_images({suffix: 1} if (suffix := Path(name).suffix.lower()) in UNREAD else {}).partition("; ")
        raise UnreadableImageError(
            f"image {name}: expected one of {formats}, got unknown bytes{''.join(advice[1:])}"
        ) from None
    except Exception as cause:  # for damaged files Pillow raises many types: KeyError, struct.error, ...
        raise UnreadableImageError(f"image {name}: expected a whole image, got {_reason(cause)}; replace it") from cause


def _stream(source: Path | bytes) -> BinaryIO:
    """A stream of the bytes: for a path, Pillow would take the suffix into account."""
    if isinstance(source, bytes):
        return io.BytesIO(source)
    mode = source.stat().st_mode
    if not stat.S_ISREG(mode):
        raise OSError(f"a {'folder' if stat.S_ISDIR(mode) else 'pipe or device'}")
    return source.open("rb")


def _reason(cause: Exception) -> str:
    text = os.strerror(cause.errno) if isinstance(cause, OSError) and cause.errno else str(cause)
    return text if isinstance(cause, (OSError, ValueError, SyntaxError)) and text else f"{type(cause).__name__} {text}"


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1..8; 1 if the EXIF data are damaged."""
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except Exception:  # the pixels can still be read
        return 1
    return orientation if orientation in UPRIGHT else 1


def resize(image: Image.Image, image_px: int) -> NDArray[np.uint8]:
    """Resize an RGB image to uint8 (image_px, image_px, 3), without keeping its aspect ratio."""
    if image.size != (image_px, image_px):
        image = image.resize((image_px, image_px), Image.Resampling.BILINEAR)
    return np.array(image, dtype=np.uint8)


def load(source: Path | bytes, image_px: int) -> NDArray[np.uint8]:
    """Decode image bytes or a file to uint8 (image_px, image_px, 3).  Raises UnreadableImageError."""
    return resize(decode(source, image_px), image_px)
