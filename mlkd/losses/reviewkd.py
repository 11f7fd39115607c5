"""Knowledge review (ReviewKD): stage maps of the student, fused from deep to shallow, against those of the teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from mlkd.losses.base import BaseLoss, LossInputs, Need, Shape, wide

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor, nn


def hierarchical_context(student: Float[Tensor, "B C H W"], teacher: Float[Tensor, "B C H W"]) -> Float[Tensor, ""]:
    """Weighted mean of the mean squared differences of two maps and of their average pools to 4 x 4, 2 x 2 and 1 x 1.

    Chen et al. 2021, sec. 3.4, with weights 1, 1/2, 1/4 and 1/8; pools not smaller than the height are left out.
    """

    import torch
    from torch.nn.functional import adaptive_avg_pool2d

    s = wide(student)
    difference = s - teacher.detach().to(s)
    terms = [difference.square().mean()]
    terms += [adaptive_avg_pool2d(difference, size).square().mean() for size in (4, 2, 1) if size < s.shape[2]]
    weights = [0.5**level for level in range(len(terms))]
    return torch.stack([weight * term for weight, term in zip(weights, terms, strict=True)]).sum() / sum(weights)


@dataclass(frozen=True, kw_only=True)
class ReviewKD(BaseLoss):
    """`hierarchical_context` summed over stages, after the student's maps went through `adapter`."""

    needs: ClassVar[frozenset[Need]] = frozenset({"teacher", "features"})
    adapts: ClassVar[Need] = "features"

    kind: Literal["reviewkd"] = "reviewkd"
    ramp_epochs: float = 20.0
    channels: int = 512  # most channels of the fused maps

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels < 1:
            raise ValueError(f"loss {self.kind}: channels: expected at least 1, got {self.channels}")

    def value(self, inputs: LossInputs) -> Float[Tensor, ""]:
        import torch

        maps = inputs.student.stage_maps(self.kind)
        targets = inputs.teacher.stage_maps(self.kind)[-len(maps) :]
        got, expected = [tuple(m.shape) for m in maps], [tuple(t.shape) for t in targets]
        if got != expected:
            raise ValueError(
                f"loss {self.kind}: student maps: expected the shapes of the teacher maps {expected}, got {got}; "
                "pass them through the adapter first"
            )
        return torch.stack([hierarchical_context(m, t) for m, t in zip(maps, targets, strict=True)]).sum()

    def adapter(self, student: Sequence[Shape], teacher: Sequence[Shape]) -> nn.Module:
        """A trainable module from the student's stage maps to maps with the teacher's channels and sizes.

        Where one model has more stages than the other, its shallowest ones are left out.

        Args:
            student: Shapes of the student's stage maps, shallow first.
            teacher: Shapes of the teacher's stage maps, shallow first.

        Raises:
            ValueError: The student has no trainable stage, or the teacher no stage maps.
        """
        from mlkd.losses.review import Review

        stages = min(len(student), len(teacher))
        if not stages:
            raise ValueError(
                f"loss {self.kind}: expected a student with a trainable stage and a teacher with stage maps, got "
                f"{student} and {teacher}; lower frozen_groups"
            )
        return Review(student[-stages:], teacher[-stages:], self.channels)
