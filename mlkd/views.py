"""Augmentation: a view of a picture is a function of (seed, picture, view number) alone, so it can be cached."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional


@dataclass(frozen=True, kw_only=True)
class Views:
    """How pictures vary between epochs; epoch e uses view e modulo `count`, teacher outputs are stored per view."""

    count: int = 4
    crop_min: float = 0.7  # smallest share of a side that a crop keeps
    flip: bool = True
    light: float = 0.2  # largest relative change of brightness and of contrast
    cutout_max: float = 0.0  # largest share of a side that is greyed out

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"views.count: expected at least 1, got {self.count}")
        for name, value, top in (("crop_min", self.crop_min, 1.0), ("light", self.light, 0.9)):
            if not 0 <= value <= top:
                raise ValueError(f"views.{name}: expected 0..{top}, got {value}")
        if not self.crop_min >= 0.1 or not 0 <= self.cutout_max <= 0.8:
            raise ValueError(
                f"views: expected crop_min >= 0.1 and cutout_max 0..0.8, got {self.crop_min} and {self.cutout_max}"
            )

    def apply(self, pixels: NDArray[np.uint8], *, seed: int, picture: int, view: int) -> UInt8[Tensor, "H W 3"]:
        """One view of uint8 pixels (H, W, 3); the same box, flip and light at any resolution."""
        rng = np.random.default_rng([seed, picture, view])
        share_y, share_x, y, x, mirrored, bright, contrast, side, cut_y, cut_x = rng.random(10)
        height, width = pixels.shape[:2]
        crop_h, crop_w = (
            round(n * (self.crop_min + (1 - self.crop_min) * u)) for n, u in ((height, share_y), (width, share_x))
        )
        top, left = round(y * (height - crop_h)), round(x * (width - crop_w))
        image = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)
        image = functional.resized_crop(image, top, left, crop_h, crop_w, [height, width], antialias=True)
        if self.flip and mirrored < 0.5:
            image = functional.horizontal_flip(image)
        if self.light:
            image = functional.adjust_brightness(image, 1 + self.light * (2 * bright - 1))
            image = functional.adjust_contrast(image, 1 + self.light * (2 * contrast - 1))
        if self.cutout_max:
            image = self._cut(image, side, cut_y, cut_x)
        return image.permute(1, 2, 0).contiguous()

    def _cut(self, image: Tensor, side: float, y: float, x: float) -> Tensor:
        height, width = image.shape[1:]
        h, w = round(height * self.cutout_max * side), round(width * self.cutout_max * side)
        grey = torch.tensor(127, dtype=image.dtype)
        cut: Tensor = functional.erase(image, round(y * (height - h)), round(x * (width - w)), h, w, grey)
        return cut
