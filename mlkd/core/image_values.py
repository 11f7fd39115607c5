"""Pixel values of every mode to 8 bits of red, green and blue."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SCALED = (8, 16)  # key of an image's info; no file can set it, as it is no text
DARK = 16  # how many times brighter than the brightest value white may be


def scaled(image: Image.Image) -> str:
    """How the values of an image that `decode` gave were scaled; empty where they are 8 bits or fill theirs."""
    return str(image.info.get(SCALED, ""))


def to_rgb(image: Image.Image, declared: float = 0) -> Image.Image:
    """Any mode to RGB: alpha over white, more than 8 bits scaled; `declared` is the brightest value there can be."""
    if image.mode == "F" or image.mode.startswith("I"):
        return _grey(np.asarray(image), declared)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def declared_maximum(image: Image.Image) -> float:
    """The brightest value there can be by a TIFF's MaxSampleValue or SMaxSampleValue; 0 where it says nothing."""
    try:
        values = [image.tag_v2[tag] for tag in (281, 341) if tag in image.tag_v2]  # type: ignore[attr-defined]
        return float(np.max(values[0])) if values else 0.0
    except Exception:  # other formats have no tags, damaged ones anything
        return 0.0


def _grey(values: NDArray[Any], declared: float) -> Image.Image:
    """Values (H, W) of one channel to RGB; whole numbers by the high byte of so many bits as the brightest has."""
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    low, peak = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if values.dtype.kind != "f" and low >= 0 and not 0 < peak < DARK:
        bits = _even_bits(int(declared if peak <= declared <= DARK * peak else peak))
        grey, how = values >> (bits - 8), "" if bits == 16 else f"{bits}-bit grey values"
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
            return 0.0, declared, "values with a declared maximum"
    return low, peak if peak > low else low + 1, "values with a range of their own"


def brightened(image: Image.Image) -> Image.Image:
    """An image of which Pillow gives the high bytes, to RGB: where they are all dark, it had fewer than 16 bits."""
    colours = len(image.getbands()) - ("A" in image.getbands())
    peak = int(np.max(image.getextrema()[:colours]))
    bits = (peak.bit_length() + 1) // 2 * 2
    if bits in (0, 8):
        return to_rgb(image)
    table = [min(255, value * 255 // ((1 << bits) - 1)) for value in range(256)]
    bright = to_rgb(image.point(table * colours + list(range(256)) * (len(image.getbands()) - colours)))
    bright.info[SCALED] = f"{8 + bits}-bit colours"
    return bright
