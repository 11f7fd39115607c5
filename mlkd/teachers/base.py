"""What every teacher has in common: the same pictures at the sizes it reads in, Outputs out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor

from mlkd.data.prepared import Split
from mlkd.labels import Labels
from mlkd.losses import Outputs

Pictures = Mapping[int, UInt8[Tensor, "B H W 3"]]  # the same B pictures by their size in pixels


class Teacher(Protocol):
    """A teacher at work: pictures at each of `sizes` to float32 Outputs on the CPU; what it lacks is None."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes in pixels that it reads."""

    def __call__(self, pictures: Pictures) -> Outputs:
        """Outputs of B pictures; sizes that it does not read are left alone."""


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

    def __call__(self, pictures: Pictures) -> Outputs:
        """Each teacher sees its own sizes."""
        outputs = [teacher(pictures) for teacher in self.teachers]
        return Outputs(
            logits=torch.stack([output.logits for output in outputs]).mean(0),
            embeddings=_joined([output.embeddings for output in outputs]),
            pooled=_joined([output.pooled for output in outputs]),
        )


def scores(teacher: Teacher, split: Split, batch_size: int = 64) -> NDArray[np.float32]:
    """Sigmoid scores (N, L) of all pictures of a split."""
    pixels = {px: split.pixels(px) for px in teacher.sizes}
    parts = []
    with torch.inference_mode():
        for start in range(0, len(split), batch_size):
            batch = {px: torch.from_numpy(np.array(at[start : start + batch_size])) for px, at in pixels.items()}
            parts.append(teacher(batch).logits.sigmoid().numpy())
    joined: NDArray[np.float32] = np.concatenate(parts)
    return joined


def check_labels(teacher: object, found: Sequence[str], labels: Labels) -> None:
    """ValueError that names what differs, unless the teacher's labels are the data's, in their order."""
    names = list(labels.names)
    if list(found) == names:
        return
    lacks, more = [name for name in names if name not in found], [name for name in found if name not in names]
    told = [f"without {_listed(lacks)}"] if lacks else []
    told += [f"with {_listed(more)} besides"] if more else []
    if not told and len(found) == len(names):
        at = next(at for at, name in enumerate(names) if found[at] != name)
        told = [f"the same in another order, {found[at]!r} in column {at} where the data has {names[at]!r}"]
    raise ValueError(
        f"teacher {teacher}: expected the {len(names)} labels of the data in their order, "
        f"got {len(found)}: {', '.join(told) or 'some repeated'}; choose a teacher of exactly these labels"
    )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    found = [part for part in parts if part is not None]
    return torch.cat(found, dim=-1) if found else None
