"""Photographs behind the objects: split by photograph, cropped anew for every scene."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from mlkd.core.images import UnreadableImageError, decode

SPLIT_TURN = ("train", "test", "train", "val", "train")  # 60, 20, 20 %; every split has one from four photographs on
DETAIL = 4  # shortest side kept, in scenes: crops show between a third and all of it


def read_backgrounds(files: list[Path], image_px: int) -> tuple[dict[str, list[Image.Image]], dict[str, str]]:
    """Photographs for every split, shrunk; and why others were skipped.  Raises ValueError with too few to split."""
    splits: dict[str, list[Image.Image]] = {"train": [], "val": [], "test": []}
    skipped: dict[str, str] = {}
    turn = 0
    for file in sorted(files, key=lambda file: hashlib.sha256(file.name.encode()).hexdigest()):
        try:
            image = _shrunk(decode(file, DETAIL * image_px // 2), DETAIL * image_px)
        except UnreadableImageError as cause:
            skipped[file.name] = str(cause)
            continue
        splits[SPLIT_TURN[turn % len(SPLIT_TURN)]].append(image)
        turn += 1
    if not all(splits.values()):
        raise ValueError(f"backgrounds: expected at least 4 readable photographs, got {turn}; add some")
    return splits, skipped


def _shrunk(image: Image.Image, shortest_px: int) -> Image.Image:
    scale = shortest_px / min(image.size)
    if scale >= 1:
        return image
    return image.resize(
        (round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS, reducing_gap=2
    )


def crop(photograph: Image.Image, image_px: int, rng: np.random.Generator) -> Image.Image:
    """A random square of the photograph, perhaps mirrored, in other light and colour; RGB, image_px a side."""
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
