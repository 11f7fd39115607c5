"""Composes one scene: objects pasted on a background under rules that keep each of them recognisable."""

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
LABELS_A_SCENE = (0.21, 0.31, 0.21, 0.12, 0.07, 0.04, 0.025, 0.015)  # 1 to 8 labels; COCO's histogram
STAY_IN_THEME = 0.8
VISIBLE_FLOOR = 0.70  # share of an object's own pixels that nothing may cover and no edge may cut
ROTATION = 20.0  # degrees, either way
TRIES = 16

Pools = dict[int, list[list[Cutout]]]  # label -> near-duplicate groups -> cut-outs


@dataclass
class _Placed:
    """An object in the scene: its image at its place, and which of its pixels are visible (px, px)."""

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
    """One scene of 1 to 8 objects with distinct labels; everything random comes from `rng`."""
    background = int(rng.integers(len(photographs)))
    canvas = crop(photographs[background], image_px, rng)
    placed: list[_Placed] = []
    for label in draw_labels(themes, rng):
        groups = pools[label]
        group = groups[int(rng.integers(len(groups)))]
        cutout = group[int(rng.integers(len(group)))]
        _place(placed, cutout, "minor" if placed else "major", image_px, rng)
    for one in placed:
        _paste(canvas, one, image_px, rng)
    boxes = tuple(_box(one, image_px) for one in sorted(placed, key=lambda one: one.role))
    major = next(one for one in placed if one.role == "major")
    shared = (*(one.cutout.group for one in placed if one is not major), f"background {background}")
    return Scene(_photographed(canvas, rng), boxes, major.cutout.group, shared)


def draw_labels(themes: list[list[int]], rng: np.random.Generator) -> list[int]:
    """Distinct labels in random order: most of one theme, the rest from anywhere."""
    sizes = np.array([len(theme) for theme in themes], dtype=np.float64)
    near = list(themes[int(rng.choice(len(themes), p=sizes / sizes.sum()))])
    far = [label for theme in themes for label in theme if label not in near]
    wanted = min(1 + int(rng.choice(len(LABELS_A_SCENE), p=LABELS_A_SCENE)), len(near) + len(far))
    drawn: list[int] = []
    while len(drawn) < wanted:
        choices = near if near and (not far or rng.random() < STAY_IN_THEME) else far
        drawn.append(choices.pop(int(rng.integers(len(choices)))))
    return drawn


def _place(
    placed: list[_Placed], cutout: Cutout, role: Literal["major", "minor"], image_px: int, rng: np.random.Generator
) -> None:
    """Add the object where it and all others stay visible; tries other places, then smaller; else leaves it out."""
    low, high = MAJOR_SIDE if role == "major" else MINOR_SIDE
    side = rng.uniform(low, high)
    for attempt in range(TRIES):
        if attempt == TRIES // 2:
            side = low
        if attempt % (TRIES // 2) == 0:
            image = _turned(cutout, max(4, round(side * image_px)), rng)
        one = _at_random_place(cutout, image, role, image_px, rng)
        if _fits(placed, one, behind=bool(rng.random() < 0.25)):
            return


def _turned(cutout: Cutout, longest_px: int, rng: np.random.Generator) -> Image.Image:
    """The cut-out rotated, perhaps mirrored, `longest_px` long over its visible extent."""
    image = cutout.half if 2.2 * longest_px <= 2 * max(cutout.half.size) else cutout.image
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = image.rotate(rng.uniform(-ROTATION, ROTATION), Image.Resampling.BILINEAR, expand=True)
    image = image.crop(visible_extent(image))
    scale = longest_px / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BILINEAR)


def _at_random_place(
    cutout: Cutout, image: Image.Image, role: Literal["major", "minor"], image_px: int, rng: np.random.Generator
) -> _Placed:
    left, top = (_start(length, image_px, rng) for length in image.size)
    mask = np.zeros((image_px, image_px), dtype=np.bool_)
    own = np.asarray(image.getchannel("A")) > VISIBLE_ALPHA
    inside = own[max(0, -top) : image_px - top, max(0, -left) : image_px - left]
    mask[max(0, top) : max(0, top) + inside.shape[0], max(0, left) : max(0, left) + inside.shape[1]] = inside
    return _Placed(cutout, image, left, top, int(own.sum()), mask, role)


def _start(length: int, image_px: int, rng: np.random.Generator) -> int:
    over = length // 12  # an edge of the scene may cut a little
    return int(rng.integers(-over, max(image_px - length + over, 1 - over)))


def _fits(placed: list[_Placed], one: _Placed, *, behind: bool) -> bool:
    """Put `one` over or behind all others if every object keeps its visible share."""
    if behind:
        for other in placed:
            one.visible &= ~other.visible
        if one.visible.sum() < VISIBLE_FLOOR * one.area:
            return False
        placed.insert(0, one)
        return True
    left = [other.visible & ~one.visible for other in placed]
    kept = all(part.sum() >= VISIBLE_FLOOR * other.area for part, other in zip(left, placed, strict=True))
    if not kept or one.visible.sum() < VISIBLE_FLOOR * one.area:
        return False
    for part, other in zip(left, placed, strict=True):
        other.visible = part
    placed.append(one)
    return True


def _paste(canvas: Image.Image, one: _Placed, image_px: int, rng: np.random.Generator) -> None:
    """Soft shadow, then the object in its own light."""
    alpha = one.image.getchannel("A")
    radius = image_px / 60
    pad = 2 * round(radius + 1)
    dark = np.pad(np.asarray(alpha) * np.float32(rng.uniform(0.1, 0.5)), pad)
    shadow = Image.fromarray(dark.astype(np.uint8)).filter(ImageFilter.BoxBlur(radius))
    shift = [int(offset) for offset in rng.integers(-pad // 2, pad // 2 + 1, size=2)]
    canvas.paste((0, 0, 0), (one.left - pad + shift[0], one.top - pad + shift[1]), shadow)
    gain, lift = rng.uniform(0.85, 1.15, size=3), rng.uniform(0, 20)
    gain = 0.6 * gain.mean() + 0.4 * gain  # mostly brightness, a little tint
    lit = np.asarray(one.image)[..., :3] * gain.astype(np.float32) + np.float32(lift)
    canvas.paste(Image.fromarray(np.minimum(lit, 255).astype(np.uint8)), (one.left, one.top), alpha)


def _box(one: _Placed, image_px: int) -> Box:
    """Extent of the whole object, covered parts too, clipped to the scene."""
    corners = (one.left, one.top, one.left + one.image.width, one.top + one.image.height)
    x0, y0, x1, y1 = (min(max(corner / image_px, 0.0), 1.0) for corner in corners)
    return Box(one.cutout.label, x0, y0, x1, y1, one.role)


def _photographed(canvas: Image.Image, rng: np.random.Generator) -> bytes:
    """Light from one side, sometimes a little blur, JPEG."""
    across = np.linspace(-0.5, 0.5, canvas.width, dtype=np.float32)
    slope = rng.uniform(-0.25, 0.25, size=2).astype(np.float32)
    light = np.float32(rng.uniform(0.92, 1.05)) + slope[0] * across[None, :, None] + slope[1] * across[:, None, None]
    lit = Image.fromarray(np.clip(np.asarray(canvas, dtype=np.float32) * light, 0, 255).astype(np.uint8))
    if rng.random() < 0.3:
        lit = lit.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.6) * canvas.width / 96))
    buffer = io.BytesIO()
    lit.save(buffer, "JPEG", quality=int(rng.integers(60, 96)))
    return buffer.getvalue()
