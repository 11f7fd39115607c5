"""THE preprocessing: picture bytes to uint8 (H, W, 3); training, calibration, evaluation and device share it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

# What a device has to repeat to get the same pixels; travels in the bundle's manifest.
PREPROCESSING = {
    "orientation": "EXIF applied",
    "colour": "RGB, alpha over white",
    "jpeg": "decoded at the smallest DCT scale that is at least twice image_px",
    "resize": "plain, to a square, Pillow BILINEAR (antialiased)",
    "values": "uint8, normalisation is inside the model",
}


class UnreadablePicture(ValueError):  # noqa: N818  (the user's input is wrong, the program is not)
    """A picture that cannot be decoded; the message names it and the cause."""


def decode(source: Path | bytes, image_px: int) -> Image.Image:
    """Upright RGB picture; a JPEG is decoded at a reduced scale of at least 2 * image_px a side.

    Alpha is laid over white, 16-bit values keep their high byte.  Raises UnreadablePicture.
    """
    name = source.name if isinstance(source, Path) else f"{len(source)} bytes"
    try:
        with Image.open(source if isinstance(source, Path) else io.BytesIO(source)) as image:
            image.draft("RGB", (2 * image_px, 2 * image_px))
            return to_rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise UnreadablePicture(f"picture {name}: expected JPEG, PNG or another picture, got unknown bytes") from None
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as cause:
        raise UnreadablePicture(f"picture {name}: expected a whole picture, got {cause}; replace the file") from cause


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode to RGB: alpha over white, 16-bit values by their high byte."""
    if image.mode.startswith("I"):  # 16-bit greyscale: Pillow would clip instead of scale
        high = np.clip(np.asarray(image, dtype=np.int64) >> 8, 0, 255).astype(np.uint8)
        return Image.fromarray(high).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def resize(image: Image.Image, image_px: int) -> NDArray[np.uint8]:
    """RGB picture to uint8 (image_px, image_px, 3), plain resize as in the published recipe."""
    if image.size != (image_px, image_px):
        image = image.resize((image_px, image_px), Image.Resampling.BILINEAR)
    return np.array(image, dtype=np.uint8)


def load(source: Path | bytes, image_px: int) -> NDArray[np.uint8]:
    """Picture bytes or file to uint8 (image_px, image_px, 3).  Raises UnreadablePicture."""
    return resize(decode(source, image_px), image_px)
