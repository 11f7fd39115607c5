"""Composes one scene: pastes objects on a background so that each stays recognisable."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from mlkd.data.base import Box
from mlkd.data.scenes.backgrounds import crop
from mlkd.data.scenes.cutouts import VISIBLE_ALPHA, Cutout, visible_extent

MAJOR_SIDE = (0.45, 0.80)  # longest side of an object as a share of the scene's
MINOR_SIDE = (0.18, 0.40)
LABELS_PER_SCENE = (0.21, 0.31, 0.21, 0.12, 0.07, 0.04, 0.025, 0.015)  # 1 to 8 labels; COCO's histogram
STAY_IN_THEME = 0.8
LEAST_VISIBLE = 0.70  # share of an object's pixels that must be neither covered nor outside the scene
ROTATION = 20.0  # degrees, either way
TRIES = 16

Pools = dict[int, list[list[Cutout]]]  # label -> near-duplicate groups -> cut-outs


@dataclass
class _Placed:
    """An object in the scene: its image and position, and which of its pixels are visible (px, px)."""

    cutout: Cutout
    image: Image.Image
    left: int
    top: int
    area: int
    visible: NDArray[np.bool_]
    role: Literal["major", "minor"]


@dataclass(frozen=True)
class Scene:
    """A composed image, encoded; its boxes (the major first) and the near-duplicate group of the major.

    `shared` names the near-duplicate groups of the minor objects and the background.
    """

    jpeg: bytes
    boxes: tuple[Box, ...]
    group: str
    shared: tuple[str, ...]


def compose(
    pools: Pools, themes: list[list[int]], photographs: list[Image.Image], image_px: int, rng: np.random.Generator
) -> Scene:
    """Compose a scene of 1 to 8 objects with distinct labels; `rng` is the only source of randomness."""
    background = int(rng.integers(len(photographs)))
    canvas = crop(photographs[background], image_px, rng)
    placed: list[_Placed] = []
    for label in draw_labels(themes, rng):
        groups = pools[label]
        group = groups[int(rng.integers(len(groups)))]
        cutout = group[int(rng.integers(len(group)))]
        _place(placed, cutout, "minor" if placed else "major", image_px, rng)
    for item in placed:
        _paste(canvas, item, image_px, rng)
    boxes = tuple(_box(item, image_px) for item in sorted(placed, key=lambda item: item.role))
    major = next(item for item in placed if item.role == "major")
    shared = (*(item.cutout.group for item in placed if item is not major), f"background {background}")
    return Scene(_photograph(canvas, rng), boxes, major.cutout.group, shared)


def draw_labels(themes: list[list[int]], rng: np.random.Generator) -> list[int]:
    """Draw distinct labels in random order, most of one theme."""
    sizes = np.array([len(theme) for theme in themes], dtype=np.float64)
    near = list(themes[int(rng.choice(len(themes), p=sizes / sizes.sum()))])
    far = [label for theme in themes for label in theme if label not in near]
    wanted = min(1 + int(rng.choice(len(LABELS_PER_SCENE), p=LABELS_PER_SCENE)), len(near) + len(far))
    drawn: list[int] = []
    while len(drawn) < wanted:
        choices = near if near and (not far or rng.random() < STAY_IN_THEME) else far
        drawn.append(choices.pop(int(rng.integers(len(choices)))))
    return drawn


def _place(
    placed: list[_Placed], cutout: Cutout, role: Literal["major", "minor"], image_px: int, rng: np.random.Generator
) -> None:
    """Add the object where all objects stay visible; try several positions, then a smaller size, else leave it out."""
    low, high = MAJOR_SIDE if role == "major" else MINOR_SIDE
    side = rng.uniform(low, high)
    for attempt in range(TRIES):
        if attempt == TRIES // 2:
            side = low
        if attempt % (TRIES // 2) == 0:
            image = _rotate(cutout, max(4, round(side * image_px)), rng)
        item = _at_random_position(cutout, image, role, image_px, rng)
        if _insert(placed, item, behind=bool(rng.random() < 0.25)):
            return


def _rotate(cutout: Cutout, longest_px: int, rng: np.random.Generator) -> Image.Image:
    """The cut-out rotated, sometimes mirrored, with a visible extent of `longest_px`."""
    image = cutout.half if 2.2 * longest_px <= 2 * max(cutout.half.size) else cutout.image
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = image.rotate(rng.uniform(-ROTATION, ROTATION), Image.Resampling.BILINEAR, expand=True)
    image = image.crop(visible_extent(image))
    scale = longest_px / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BILINEAR)


def _at_random_position(
    cutout: Cutout, image: Image.Image, role: Literal["major", "minor"], image_px: int, rng: np.random.Generator
) -> _Placed:
    left, top = (_start(length, image_px, rng) for length in image.size)
    mask = np.zeros((image_px, image_px), dtype=np.bool_)
    own = np.asarray(image.getchannel("A")) > VISIBLE_ALPHA
    inside = own[max(0, -top) : image_px - top, max(0, -left) : image_px - left]
    mask[max(0, top) : max(0, top) + inside.shape[0], max(0, left) : max(0, left) + inside.shape[1]] = inside
    return _Placed(cutout, image, left, top, int(own.sum()), mask, role)


def _start(length: int, image_px: int, rng: np.random.Generator) -> int:
    over = length // 12  # may be outside the scene
    return int(rng.integers(-over, max(image_px - length + over, 1 - over)))


def _insert(placed: list[_Placed], item: _Placed, *, behind: bool) -> bool:
    """Put the item over or behind all others if every object stays visible; returns whether it was added."""
    if behind:
        for other in placed:
            item.visible &= ~other.visible
        if item.visible.sum() < LEAST_VISIBLE * item.area:
            return False
        placed.insert(0, item)
        return True
    remaining = [other.visible & ~item.visible for other in placed]
    visible = all(part.sum() >= LEAST_VISIBLE * other.area for part, other in zip(remaining, placed, strict=True))
    if not visible or item.visible.sum() < LEAST_VISIBLE * item.area:
        return False
    for part, other in zip(remaining, placed, strict=True):
        other.visible = part
    placed.append(item)
    return True


def _paste(canvas: Image.Image, item: _Placed, image_px: int, rng: np.random.Generator) -> None:
    """Paste a soft shadow, then the object with its own light."""
    alpha = item.image.getchannel("A")
    radius = image_px / 60
    pad = 2 * round(radius + 1)
    dark = np.pad(np.asarray(alpha) * np.float32(rng.uniform(0.1, 0.5)), pad)
    shadow = Image.fromarray(dark.astype(np.uint8)).filter(ImageFilter.BoxBlur(radius))
    shift = [int(offset) for offset in rng.integers(-pad // 2, pad // 2 + 1, size=2)]
    canvas.paste((0, 0, 0), (item.left - pad + shift[0], item.top - pad + shift[1]), shadow)
    gain, lift = rng.uniform(0.85, 1.15, size=3), rng.uniform(0, 20)
    gain = 0.6 * gain.mean() + 0.4 * gain  # mostly brightness, a little tint
    lit = np.asarray(item.image)[..., :3] * gain.astype(np.float32) + np.float32(lift)
    canvas.paste(Image.fromarray(np.minimum(lit, 255).astype(np.uint8)), (item.left, item.top), alpha)


def _box(item: _Placed, image_px: int) -> Box:
    """The extent of the whole object with its covered parts, clipped to the scene."""
    corners = (item.left, item.top, item.left + item.image.width, item.top + item.image.height)
    x0, y0, x1, y1 = (min(max(corner / image_px, 0.0), 1.0) for corner in corners)
    return Box(item.cutout.label, x0, y0, x1, y1, item.role)


def _photograph(canvas: Image.Image, rng: np.random.Generator) -> bytes:
    """Add light from one side and sometimes a little blur, and encode as JPEG."""
    across = np.linspace(-0.5, 0.5, canvas.width, dtype=np.float32)
    slope = rng.uniform(-0.25, 0.25, size=2).astype(np.float32)
    light = np.float32(rng.uniform(0.92, 1.05)) + slope[0] * across[None, :, None] + slope[1] * across[:, None, None]
    lit = Image.fromarray(np.clip(np.asarray(canvas, dtype=np.float32) * light, 0, 255).astype(np.uint8))
    if rng.random() < 0.3:
        lit = lit.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.6) * canvas.width / 96))
    buffer = io.BytesIO()
    lit.save(buffer, "JPEG", quality=int(rng.integers(60, 96)))
    return buffer.getvalue()
