"""What every teacher has in common: the same images at the sizes it reads in, Outputs out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mlkd.core.labels import Labels
from mlkd.data.prepared import Split
from mlkd.models.outputs import Outputs

ImagesBySize = Mapping[int, UInt8[Tensor, "B H W 3"]]  # the same B images by their size in pixels
Aspects = NDArray[np.float64]  # (B,) width by height of the images before they were resized to squares


class Teacher(Protocol):
    """A teacher at work: images at each of `sizes` to float32 Outputs on the CPU; what it lacks is None.

    The columns of its outputs are the labels of the data.
    """

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes in pixels that it reads."""

    @property
    def runs_on(self) -> str:
        """The provider or device that computes it."""

    @property
    def pads(self) -> bool:
        """Whether it needs aspect ratios, to see images with their own and padded to a square."""

    def __call__(self, images: ImagesBySize, aspects: Aspects | None = None, /) -> Outputs:
        """Outputs of B images; sizes that it does not read are left alone."""


class SingleTeacher(Teacher, Protocol):
    """A teacher that stands alone."""

    @property
    def width(self) -> int:
        """The number of its own labels, which may be more than those of the data."""


@dataclass(frozen=True)
class Several:
    """Teachers as one: the mean of all logits; the embeddings, and the pooled features, of those that have them joined.

    Joined along the last axis: no loss compares their lengths with the student's.
    """

    teachers: tuple[Teacher, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """All that one of them reads."""
        return tuple(sorted({px for teacher in self.teachers for px in teacher.sizes}))

    @property
    def runs_on(self) -> str:
        """Of each."""
        return ", ".join(teacher.runs_on for teacher in self.teachers)

    @property
    def pads(self) -> bool:
        """Whether one of them does."""
        return any(teacher.pads for teacher in self.teachers)

    def __call__(self, images: ImagesBySize, aspects: Aspects | None = None, /) -> Outputs:
        """Each teacher sees its own sizes."""
        outputs = [teacher(images, aspects) for teacher in self.teachers]
        return Outputs(
            logits=torch.stack([output.logits for output in outputs]).mean(0),
            embeddings=_joined([output.embeddings for output in outputs]),
            pooled=_joined([output.pooled for output in outputs]),
        )


def scores(teacher: Teacher, split: Split, batch_size: int = 64) -> NDArray[np.float32]:
    """Sigmoid scores (N, L) of all images of a split."""
    pixels = {px: split.pixels(px) for px in teacher.sizes}
    parts = []
    with torch.inference_mode():
        for start in range(0, len(split), batch_size):
            batch = {px: torch.from_numpy(np.array(at[start : start + batch_size])) for px, at in pixels.items()}
            aspects = split.aspects[start : start + batch_size] if teacher.pads else None
            parts.append(teacher(batch, aspects).logits.sigmoid().numpy())
    joined: NDArray[np.float32] = np.concatenate(parts)
    return joined


def columns(teacher: object, found: Sequence[str], labels: Labels) -> list[int]:
    """Where each label of the data stands among the labels of a teacher, by name; it may have others besides.

    Raises ValueError that names the labels it lacks, or has more than once.
    """
    lacks = [name for name in labels.names if name not in found]
    if lacks:
        raise ValueError(
            f"teacher {teacher}: expected the {len(labels)} labels of the data by name, got {len(found)} "
            f"({_listed(list(found))}), without {_listed(lacks)}; correct the names, or choose a teacher that has them"
        )
    repeated = [name for name in labels.names if list(found).count(name) > 1]
    if repeated:
        raise ValueError(f"teacher {teacher}: expected each label once, got {_listed(repeated)} more than once")
    return [list(found).index(name) for name in labels.names]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    found = [part for part in parts if part is not None]
    return torch.cat(found, dim=-1) if found else None


def padded(pixels: NDArray[np.uint8], aspects: Aspects, value: int, *, corner: bool) -> NDArray[np.uint8]:
    """Square images (B, px, px, 3) with the aspect ratio they had (B,), filled up with `value` to the same square.

    In the middle of it, or in its top left corner.
    """
    px = pixels.shape[1]
    whole = np.full_like(pixels, value)
    for square, image, aspect in zip(whole, pixels, aspects, strict=True):
        width, height = max(1, round(px * min(1.0, aspect))), max(1, round(px * min(1.0, 1 / aspect)))
        left, top = (0, 0) if corner else ((px - width) // 2, (px - height) // 2)
        resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        square[top : top + height, left : left + width] = np.asarray(resized)
    return whole
