"""The interface of teachers, ensembles, and the scores of a teacher for a split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from mlkd.core.labels import Labels
from mlkd.data.base import join_names
from mlkd.models.outputs import Outputs

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8
    from numpy.typing import NDArray
    from torch import Tensor

    from mlkd.data.prepared import Split

ImagesBySize: TypeAlias = "Mapping[int, UInt8[Tensor, 'B H W 3']]"  # B images by size in pixels
SHOWN = 5  # names in a message
# (B,) width divided by height of the images before they were resized to squares
Aspects: TypeAlias = "NDArray[np.float64]"


class Teacher(Protocol):
    """A loaded teacher; its outputs are float32 on the CPU, with the labels of the data as columns."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """The image sizes that it needs, in pixels."""

    @property
    def runs_on(self) -> str:
        """The provider or device on which it runs."""

    @property
    def pads(self) -> bool:
        """Whether it needs the aspect ratios of images, to pad instead of stretching them to a square."""

    def __call__(self, images: ImagesBySize, aspects: Aspects | None = None, /) -> Outputs:
        """Outputs for B images at each of `sizes`; other sizes are ignored, missing outputs are None."""


class SingleTeacher(Teacher, Protocol):
    """A teacher that is no ensemble."""

    @property
    def label_count(self) -> int:
        """The number of its own labels, which may exceed that of the data."""


@dataclass(frozen=True)
class Ensemble:
    """Several teachers: the mean of their logits; embeddings and pooled features are concatenated along the last axis.

    No loss compares the lengths of embeddings or features between student and teacher.
    """

    teachers: tuple[Teacher, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes that any of them needs."""
        return tuple(sorted({px for teacher in self.teachers for px in teacher.sizes}))

    @property
    def runs_on(self) -> str:
        """The providers or devices of all."""
        return ", ".join(teacher.runs_on for teacher in self.teachers)

    @property
    def pads(self) -> bool:
        """Whether any of them needs aspect ratios."""
        return any(teacher.pads for teacher in self.teachers)

    def __call__(self, images: ImagesBySize, aspects: Aspects | None = None, /) -> Outputs:
        """Combined outputs of all teachers."""

        import torch

        outputs = [teacher(images, aspects) for teacher in self.teachers]
        return Outputs(
            logits=torch.stack([output.logits for output in outputs]).mean(0),
            embeddings=_concatenate([output.embeddings for output in outputs]),
            pooled=_concatenate([output.pooled for output in outputs]),
            features=next((output.features for output in outputs if output.features), None),
            label_maps=next((output.label_maps for output in outputs if output.label_maps is not None), None),
            last_map=next((output.last_map for output in outputs if output.last_map is not None), None),
        )


def scores(teacher: Teacher, split: Split) -> NDArray[np.float32]:
    """Sigmoid scores (N, L) of all images of a split."""

    import numpy as np
    import torch

    from mlkd.data.loader import in_order, scored_at_once

    pixels = {px: split.pixels(px) for px in teacher.sizes}
    at_once = scored_at_once(max(teacher.sizes), cuda=torch.cuda.is_available())
    parts: list[NDArray[np.float32]] = []
    with torch.inference_mode():
        for indices in in_order(split, at_once):
            rows = slice(indices.start, indices.stop)
            batch = {px: torch.from_numpy(np.array(images[rows])) for px, images in pixels.items()}
            aspects = split.aspects[rows] if teacher.pads else None
            parts.append(teacher(batch, aspects).logits.sigmoid().numpy())
    return np.concatenate(parts)


def find_columns(teacher: object, names: Sequence[str], labels: Labels) -> list[int]:
    """The column of each label of the data among the label `names` of a teacher, which may have more.

    Raises ValueError that names the labels that are missing or repeated.
    """
    missing = [name for name in labels.names if name not in names]
    if missing:
        raise ValueError(
            f"teacher {teacher}: expected the {len(labels)} labels of the data by name, got {len(names)} "
            f"({join_names(names, SHOWN)}), without {join_names(missing, SHOWN)}; correct the names, or choose a "
            "teacher that has them"
        )
    repeated = [name for name in labels.names if list(names).count(name) > 1]
    if repeated:
        listed = join_names(repeated, SHOWN)
        raise ValueError(f"teacher {teacher}: expected each label once, got {listed} more than once")
    return [list(names).index(name) for name in labels.names]


def _concatenate(parts: Sequence[Tensor | None]) -> Tensor | None:
    import torch

    present = [part for part in parts if part is not None]
    return torch.cat(present, dim=-1) if present else None


def pad_images(pixels: NDArray[np.uint8], aspects: Aspects, value: int, *, corner: bool) -> NDArray[np.uint8]:
    """Restore the aspect ratios (B,) of images (B, px, px, 3) that were resized to squares, and pad with `value`.

    An image is placed in the middle of its square, or in the top left corner.
    """

    import numpy as np
    from PIL import Image

    px = pixels.shape[1]
    padded = np.full_like(pixels, value)
    for square, image, aspect in zip(padded, pixels, aspects, strict=True):
        width, height = max(1, round(px * min(1.0, aspect))), max(1, round(px * min(1.0, 1 / aspect)))
        left, top = (0, 0) if corner else ((px - width) // 2, (px - height) // 2)
        resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        square[top : top + height, left : left + width] = np.asarray(resized)
    return padded
