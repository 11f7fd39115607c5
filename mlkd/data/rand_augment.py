"""RandAugment (Cubuk et al. 2020) with torchvision's operations and ranges, and a given random generator."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import UInt8
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode, functional

TRANSLATION = 150 / 331  # largest, as a fraction of the side
FILL = 127.0  # grey, for pixels outside the image


def rand_augment(
    image: UInt8[Tensor, "3 H W"], operations: int, strength: float, rng: np.random.Generator
) -> UInt8[Tensor, "3 H W"]:
    """Apply `operations` random ones in turn, each at `strength` 0..1, in a random direction if it has two.

    Differs from torchvision's defaults: bilinear, filled with grey, and translations of whole pixels.  All operations
    are relative to the image size except sharpness, which works on neighbouring pixels.
    """
    for _ in range(operations):
        operation = _OPERATIONS[int(rng.integers(len(_OPERATIONS)))]
        direction = -1 if rng.random() < 0.5 else 1
        image = operation(image, direction * strength)
    return image


def _moved(image: Tensor, *, translate: Sequence[int] = (0, 0), shear: Sequence[float] = (0.0, 0.0)) -> Tensor:
    """Translated by pixels (x, y), sheared by slopes (x, y) about the upper left corner."""
    moved: Tensor = functional.affine(
        image, angle=0.0, translate=list(translate), scale=1.0, shear=[math.degrees(math.atan(s)) for s in shear],
        interpolation=InterpolationMode.BILINEAR, fill=FILL, center=[0.0, 0.0],
    )  # fmt: skip
    return moved


_OPERATIONS: tuple[Callable[[Tensor, float], Tensor], ...] = (  # strength -1..1; the last five ignore its sign
    lambda image, strength: _moved(image, shear=(0.3 * strength, 0.0)),
    lambda image, strength: _moved(image, shear=(0.0, 0.3 * strength)),
    lambda image, strength: _moved(image, translate=(round(TRANSLATION * strength * image.shape[2]), 0)),
    lambda image, strength: _moved(image, translate=(0, round(TRANSLATION * strength * image.shape[1]))),
    lambda image, strength: functional.rotate(image, 30 * strength, InterpolationMode.BILINEAR, fill=FILL),
    lambda image, strength: functional.adjust_brightness(image, 1 + 0.9 * strength),
    lambda image, strength: functional.adjust_saturation(image, 1 + 0.9 * strength),
    lambda image, strength: functional.adjust_contrast(image, 1 + 0.9 * strength),
    lambda image, strength: functional.adjust_sharpness(image, 1 + 0.9 * strength),
    lambda image, strength: functional.posterize(image, round(8 - 4 * abs(strength))),
    lambda image, strength: functional.solarize(image, 255 * (1 - abs(strength))),
    lambda image, _: functional.autocontrast(image),
    lambda image, _: functional.equalize(image),
    lambda image, _: image,
)
