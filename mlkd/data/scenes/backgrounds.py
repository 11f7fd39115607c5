"""Photographs behind the objects: each photograph is in one split, and cropped differently for every scene."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from mlkd.core.images import UnreadableImageError, decode

SPLIT_ORDER = ("train", "test", "train", "val", "train")  # 60, 20, 20 %; four photographs reach every split
DETAIL = 4  # shortest side of a shrunk photograph, in scene sizes: crops show between a third and all of it


def read_backgrounds(files: list[Path], image_px: int) -> tuple[dict[str, list[Image.Image]], dict[str, str]]:
    """Read and shrink the photographs of each split, and say why others were skipped.  Raises ValueError."""
    splits: dict[str, list[Image.Image]] = {"train": [], "val": [], "test": []}
    skipped: dict[str, str] = {}
    count = 0
    for file in sorted(files, key=lambda file: hashlib.sha256(file.name.encode()).hexdigest()):
        try:
            image = _shrunk(decode(file, DETAIL * image_px // 2), DETAIL * image_px)
        except UnreadableImageError as cause:
            skipped[file.name] = str(cause)
            continue
        splits[SPLIT_ORDER[count % len(SPLIT_ORDER)]].append(image)
        count += 1
    if not all(splits.values()):
        raise ValueError(f"backgrounds: expected at least 4 readable photographs, got {count}; add some")
    return splits, skipped


def _shrunk(image: Image.Image, shortest_px: int) -> Image.Image:
    scale = shortest_px / min(image.size)
    if scale >= 1:
        return image
    return image.resize(
        (round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS, reducing_gap=2
    )


def crop(photograph: Image.Image, image_px: int, rng: np.random.Generator) -> Image.Image:
    """Crop a random square of the photograph, sometimes mirrored, with random light and colour; RGB, image_px wide."""
    shortest = min(photograph.size)
    side = int(rng.uniform(min(1.5 * image_px, shortest), shortest))
    x, y = (int(rng.integers(0, length - side + 1)) for length in photograph.size)
    size = (image_px, image_px)
    square = photograph.resize(size, Image.Resampling.BILINEAR, box=(x, y, x + side, y + side), reducing_gap=2)
    if rng.random() < 0.5:
        square = square.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    square = ImageEnhance.Color(square).enhance(rng.uniform(0.2, 1.1))
    square = ImageEnhance.Contrast(square).enhance(rng.uniform(0.45, 1.0))
    return ImageEnhance.Brightness(square).enhance(rng.uniform(0.6, 1.25))
