"""THE preprocessing: picture bytes to uint8 (H, W, 3); training, calibration, evaluation and device share it."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import os
import stat
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

_log = logging.getLogger(__name__)

# What a device has to repeat to get the same pixels; travels in the bundle's manifest.
PREPROCESSING = {
    "orientation": "EXIF applied",
    "colour": "RGB, alpha over white",
    "range": "8 bits; more bits by the brightest value, floats of 0..1 and 0..255 as they are, others by their range",
    "jpeg": "decoded at the smallest DCT scale that is at least twice image_px",
    "resize": "plain, to a square, Pillow BILINEAR (antialiased)",
    "values": "uint8, normalisation is inside the model",
}


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
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\0", b"MM\0*")  # and those of WEBP and ftyp
SCALED = ("mlkd", "scaled")  # key of an image's info; no file can set it, as it is no text
DARK = 16  # how many times brighter than the brightest value white may be
MOST_PIXELS = 90_000_000  # decoded, after a JPEG's reduction: Pillow takes 4 bytes a pixel, up to four times at once
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


class UnreadablePicture(ValueError):  # noqa: N818  (the user's input is wrong, the program is not)
    """A picture that cannot be decoded; the message names it and the cause."""


class _WithoutWarnings:
    """Pillow's warnings about a picture that it reads all the same are not shown, whatever the process does with them.

    One for all threads: several catch_warnings at once would mix up the filters that they put back.
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


def decode(source: Path | bytes, image_px: int) -> Image.Image:
    """Upright RGB picture; a JPEG is decoded at a reduced scale of at least 2 * image_px a side.

    The first frame or page; alpha is laid over white, other values than 8 bits are scaled, which `scaled` tells.  A
    path that is no plain file is not opened: a pipe would wait for ever.  Raises UnreadablePicture.
    """
    name = source.name if isinstance(source, Path) else f"{len(source)} bytes"
    with _reading(name), _opened(source, image_px) as image:
        if image.width * image.height > MOST_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels, more than {MOST_PIXELS}")
        return _whole(image)


def from_pillow(image: Image.Image) -> Image.Image:
    """What `decode` gives, of a picture that Pillow opened, at its own size.  Raises UnreadablePicture."""
    with _reading(f"image {image.size}"):
        return _whole(image)


def reduced(source: Path | bytes, image_px: int) -> object:
    """Equal for two sizes at which `decode` gives equal pictures; None for a picture that it refuses."""
    try:
        with _reading(""), _opened(source, image_px) as image:
            return image.size, getattr(image, "decoderconfig", None)
    except UnreadablePicture:
        return None


@contextlib.contextmanager
def _opened(source: Path | bytes, image_px: int) -> Iterator[Image.Image]:
    with _stream(source) as stream, _identified(stream) as image:
        image.draft("RGB", (2 * image_px, 2 * image_px))
        yield image


def _identified(stream: BinaryIO) -> Image.Image:
    try:
        return Image.open(stream, formats=FORMATS)
    except UnidentifiedImageError:
        if not _plugins():
            raise
        stream.seek(0)
        return Image.open(stream, formats=tuple(_plugins().values()))


@functools.cache
def _plugins() -> dict[str, str]:
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
    found, unread = [], {}
    for file in files:
        suffix = file.suffix.lower()
        if (
            suffix in SUFFIXES
            or (suffix in PLUGINS and suffix in _plugins())
            or (not suffix and _begins_as_image(file))
        ):
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
        with _stream(file) as stream:
            head = stream.read(12)
    except OSError:
        return False
    return head.startswith(SIGNATURES) or head[8:] == b"WEBP" or (head[4:8] == b"ftyp" and head[8:10] in (b"av", b"he"))


def _whole(image: Image.Image) -> Image.Image:
    deep = any(";16" in str(tile.args) for tile in getattr(image, "tile", ()))  # its low bytes are dropped
    declared = _declared(image)
    image.load()
    image = _upright(image)
    return _tell(_brightened(image) if deep and "I" not in image.mode else to_rgb(image, declared))


@functools.cache
def _tell_once(how: str) -> None:
    _log.warning("images: %s", how)


def _tell(image: Image.Image) -> Image.Image:
    if scaled(image):
        _tell_once(scaled(image))
    return image


def scaled(image: Image.Image) -> str:
    """How the values of an image that `decode` gave were scaled; empty where they are 8 bits or fill theirs."""
    return str(image.info.get(SCALED, ""))


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    """Pillow without its warnings, and whatever it raises as UnreadablePicture."""
    try:
        with _without_warnings:
            yield
    except FileNotFoundError:
        raise UnreadablePicture(f"picture {name}: expected a file, got none of this name") from None
    except PermissionError:
        raise UnreadablePicture(f"picture {name}: expected a file that this user may read, got no permission") from None
    except UnidentifiedImageError:
        known = ", ".join((*FORMATS, *dict.fromkeys(_plugins().values())))
        raise UnreadablePicture(f"picture {name}: expected one of {known}, got unknown bytes") from None
    except Exception as cause:  # damaged files make Pillow raise nearly everything: KeyError, struct.error, ...
        raise UnreadablePicture(f"picture {name}: expected a whole picture, got {_told(cause)}; replace it") from cause


def _stream(source: Path | bytes) -> BinaryIO:
    """Always a stream: for a path Pillow would let the suffix decide."""
    if isinstance(source, bytes):
        return io.BytesIO(source)
    mode = source.stat().st_mode
    if not stat.S_ISREG(mode):
        raise OSError(f"a {'folder' if stat.S_ISDIR(mode) else 'pipe or device'}")
    return source.open("rb")


def _told(cause: Exception) -> str:
    text = os.strerror(cause.errno) if isinstance(cause, OSError) and cause.errno else str(cause)
    return text if isinstance(cause, (OSError, ValueError, SyntaxError)) and text else f"{type(cause).__name__} {text}"


def _upright(image: Image.Image) -> Image.Image:
    """The loaded picture turned as its EXIF orientation says; EXIF that is damaged says nothing."""
    try:
        turn = UPRIGHT.get(image.getexif().get(ORIENTATION, 1))
    except Exception:  # the pixels are whole
        return image
    return image if turn is None else image.transpose(turn)


def to_rgb(image: Image.Image, declared: float = 0) -> Image.Image:
    """Any mode to RGB: alpha over white, more than 8 bits scaled; `declared` is the brightest value there can be."""
    if image.mode == "F" or image.mode.startswith("I"):
        return _grey(np.asarray(image), declared)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _declared(image: Image.Image) -> float:
    """The brightest value there can be by a TIFF's MaxSampleValue or SMaxSampleValue; 0 where it says nothing."""
    try:
        values = [image.tag_v2[tag] for tag in (281, 341) if tag in image.tag_v2]  # type: ignore[attr-defined]
        return float(np.max(values[0])) if values else 0.0
    except Exception:  # other formats have no tags, damaged ones anything
        return 0.0


def _grey(values: NDArray[np.generic], declared: float) -> Image.Image:
    """Values (H, W) of one channel to RGB; whole numbers by the high byte of so many bits as the brightest has."""
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    low, peak = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if values.dtype.kind != "f" and low >= 0 and not 0 < peak < DARK:
        bits = _even_bits(int(declared if peak <= declared <= DARK * peak else peak))
        grey, how = values >> (bits - 8), "" if bits == 16 else f"whole numbers of {bits} bits in more"
    else:
        bottom, top, how = _span(low, peak, declared)
        grey = (np.nan_to_num(values, nan=bottom, posinf=top, neginf=bottom) - bottom) * (255 / (top - bottom))
    image = Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).convert("RGB")
    image.info[SCALED] = how
    return image


def _even_bits(peak: int) -> int:
    """8, 10, 12, ...: sensors have an even number."""
    return max(8, (peak.bit_length() + 1) // 2 * 2)


def _span(low: float, peak: float, declared: float) -> tuple[float, float, str]:
    """The values that become black and white, and what to say: floats of 0..1 and 0..255 are taken as they are."""
    if low >= 0:
        for top in (1.0, 255.0):
            if top / DARK < peak <= top or peak == 0:
                return 0.0, top, ""
        if peak <= declared <= DARK * peak:
            return 0.0, declared, "values from 0 to the declared maximum"
    return low, peak if peak > low else low + 1, "values by their own range"


def _brightened(image: Image.Image) -> Image.Image:
    """An image of which Pillow gives the high bytes, to RGB: where they are all dark, it had fewer than 16 bits."""
    colours = len(image.getbands()) - ("A" in image.getbands())
    peak = max(high for _, high in image.getextrema()[:colours])
    bits = (peak.bit_length() + 1) // 2 * 2
    if bits in (0, 8):
        return to_rgb(image)
    table = [min(255, value * 255 // ((1 << bits) - 1)) for value in range(256)]
    bright = to_rgb(image.point(table * colours + list(range(256)) * (len(image.getbands()) - colours)))
    bright.info[SCALED] = f"colours of {8 + bits} bits in 16"
    return bright


def resize(image: Image.Image, image_px: int) -> NDArray[np.uint8]:
    """RGB picture to uint8 (image_px, image_px, 3), plain resize as in the published recipe."""
    if image.size != (image_px, image_px):
        image = image.resize((image_px, image_px), Image.Resampling.BILINEAR)
    return np.array(image, dtype=np.uint8)


def load(source: Path | bytes, image_px: int) -> NDArray[np.uint8]:
    """Picture bytes or file to uint8 (image_px, image_px, 3).  Raises UnreadablePicture."""
    return resize(decode(source, image_px), image_px)
