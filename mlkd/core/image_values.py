"""Conversion of all Pillow modes to 8-bit RGB."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SCALED = (8, 16)  # key in the info of an image; no file can set it, because it is no text
DARK = 16  # white may be at most so many times the brightest value


def scaled(image: Image.Image) -> str:
    """How `decode` scaled the values of an image; empty for 8 bits and for full 16 bits."""
    return str(image.info.get(SCALED, ""))


def to_rgb(image: Image.Image, declared: float = 0) -> Image.Image:
    """Convert any mode to RGB: alpha over white, more than 8 bits scaled; `declared` is the declared maximum."""
    if image.mode == "F" or image.mode.startswith("I"):
        return _grey(np.asarray(image), declared)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def declared_maximum(image: Image.Image) -> float:
    """The MaxSampleValue or SMaxSampleValue of a TIFF; 0 where there is none."""
    try:
        values = [image.tag_v2[tag] for tag in (281, 341) if tag in image.tag_v2]  # type: ignore[attr-defined]
        return float(np.max(values[0])) if values else 0.0
    except Exception:  # other formats have no tags, damaged files invalid ones
        return 0.0


def _grey(values: NDArray[Any], declared: float) -> Image.Image:
    """Convert one channel (H, W) to RGB; integers by the high byte of as many bits as the brightest value has."""
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    low, peak = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if values.dtype.kind != "f" and low >= 0 and not 0 < peak < DARK:
        bits = max(8, _even_bits(int(declared if peak <= declared <= DARK * peak else peak)))
        grey, how = values >> (bits - 8), "" if bits == 16 else f"{bits}-bit grey values"
    else:
        bottom, top, how = _span(low, peak, declared)
        grey = (np.nan_to_num(values, nan=bottom, posinf=top, neginf=bottom) - bottom) * (255 / (top - bottom))
    image = Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).convert("RGB")
    image.info[SCALED] = how
    return image


def _even_bits(peak: int) -> int:
    """The bits of `peak`, rounded up to an even number, as sensors have."""
    return (peak.bit_length() + 1) // 2 * 2


def _span(low: float, peak: float, declared: float) -> tuple[float, float, str]:
    """The values of black and white, and a description; floats in 0..1 and 0..255 are not scaled."""
    if low >= 0:
        for top in (1.0, 255.0):
            if top / DARK < peak <= top or peak == 0:
                return 0.0, top, ""
        if peak <= declared <= DARK * peak:
            return 0.0, declared, "values with a declared maximum"
    return low, peak if peak > low else low + 1, "values with a range of their own"


def brightened(image: Image.Image) -> Image.Image:
    """Convert the high bytes of a 16-bit image to RGB; if all are dark, the image has fewer bits and is scaled."""
    colours = len(image.getbands()) - ("A" in image.getbands())
    peak = int(np.max(image.getextrema()[:colours]))
    bits = _even_bits(peak)
    if bits in (0, 8):
        return to_rgb(image)
    table = [min(255, value * 255 // ((1 << bits) - 1)) for value in range(256)]
    bright = to_rgb(image.point(table * colours + list(range(256)) * (len(image.getbands()) - colours)))
    bright.info[SCALED] = f"{8 + bits}-bit colours"
    return bright
