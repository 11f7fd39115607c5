"""Augmentation: a view of an image depends only on (seed, image, view number), so its outputs can be cached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8
    from numpy.typing import NDArray
    from torch import Tensor


MAGNITUDES = 31  # of an operation of RandAugment
ASPECT = (3 / 4, 4 / 3)  # of a crop by area, as torchvision's RandomResizedCrop
GREY = 127


@dataclass(frozen=True, kw_only=True)
class Views:
    """How images vary between epochs: epoch e uses view e modulo `count`; teacher outputs are stored for each view.

    The order is crop, flip, light, cut-outs, RandAugment.  Sizes and positions are fractions of a side, so that teacher
    and student see the same view at different resolutions.
    """

    count: int = 4
    crop: Literal["sides", "area"] = "sides"  # height and width independently, or an area of aspect 3/4 to 4/3
    crop_min: float = 0.7  # smallest fraction of a side, or of the area, that a crop keeps; 1 is the whole image
    flip: bool = True
    light: float = 0.2  # largest relative change of brightness and of contrast
    cutout_max: float = 0.0  # largest fraction of a side that is greyed out, always inside the image
    cutout: float = 0.0  # side of the published Cutout: one random colour, centred anywhere, of constant size
    rand_augment: int = 0  # operations of RandAugment per view
    magnitude: int = 9  # of each operation, 0..30

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"views.count: expected at least 1, got {self.count}")
        limits = {
            "crop_min": (0.1 if self.crop == "sides" else 0.01, 1.0), "light": (0.0, 0.9), "cutout_max": (0.0, 0.8),
            "cutout": (0.0, 0.8), "rand_augment": (0, 14), "magnitude": (0, MAGNITUDES - 1),
        }  # fmt: skip
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"views.{name}: expected {low}..{high}, got {getattr(self, name)}")

    def apply(self, pixels: NDArray[np.uint8], *, seed: int, row: int, view: int) -> UInt8[Tensor, "H W 3"]:
        """Return view number `view` of image `row`, from its pixels (H, W, 3), the same at any resolution."""

        import numpy as np
        import torch
        from torchvision.transforms.v2 import functional

        from mlkd.data.rand_augment import rand_augment

        rng = np.random.default_rng([seed, row, view])
        share_y, share_x, y, x, mirrored, bright, contrast, side, cut_y, cut_x = rng.random(10)
        height, width = pixels.shape[:2]
        if self.crop == "sides":
            sides = (self.crop_min + (1 - self.crop_min) * share_y, self.crop_min + (1 - self.crop_min) * share_x)
        else:
            sides = _sides_by_area(self.crop_min, rng)
        crop_h, crop_w = max(1, round(height * sides[0])), max(1, round(width * sides[1]))
        top, left = round(y * (height - crop_h)), round(x * (width - crop_w))
        image = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)
        image = functional.resized_crop(image, top, left, crop_h, crop_w, [height, width], antialias=True)
        if self.flip and mirrored < 0.5:
            image = functional.horizontal_flip(image)
        if self.light:
            image = functional.adjust_brightness(image, 1 + self.light * (2 * bright - 1))
            image = functional.adjust_contrast(image, 1 + self.light * (2 * contrast - 1))
        if self.cutout_max:
            image = _cut_inside(image, self.cutout_max * side, cut_y, cut_x)
        if self.cutout:
            image = _cut_anywhere(image, self.cutout, rng)
        image = rand_augment(image, self.rand_augment, self.magnitude / (MAGNITUDES - 1), rng)
        return image.permute(1, 2, 0).contiguous()


def _sides_by_area(area_min: float, rng: np.random.Generator) -> tuple[float, float]:
    """Fractions of height and width: the first of ten draws that fits, else the whole, as in torchvision."""

    import numpy as np

    low, high = np.log(ASPECT)
    for area, aspect in zip(rng.uniform(area_min, 1, 10), np.exp(rng.uniform(low, high, 10)), strict=True):
        if max(area * aspect, area / aspect) <= 1:
            return float(np.sqrt(area / aspect)), float(np.sqrt(area * aspect))
    return 1.0, 1.0


def _cut_inside(image: Tensor, share: float, y: float, x: float) -> Tensor:
    import torch
    from torchvision.transforms.v2 import functional

    height, width = image.shape[1:]
    h, w = round(height * share), round(width * share)
    grey = torch.tensor(GREY, dtype=image.dtype)
    cut: Tensor = functional.erase(image, round(y * (height - h)), round(x * (width - w)), h, w, grey)
    return cut


def _cut_anywhere(image: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """DeVries & Taylor 2017, with a random colour as in the published code; a part may be outside the image."""

    import numpy as np
    import torch
    from torchvision.transforms.v2 import functional

    height, width = image.shape[1:]
    y, x = rng.random(2)
    colour = torch.from_numpy(rng.integers(0, 256, 3).astype(np.uint8))[:, None, None]
    top, bottom = (min(max(round(height * (y + half)), 0), height) for half in (-share / 2, share / 2))
    left, right = (min(max(round(width * (x + half)), 0), width) for half in (-share / 2, share / 2))
    cut: Tensor = functional.erase(image, top, left, bottom - top, right - left, colour)
    return cut
