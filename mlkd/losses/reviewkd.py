"""Knowledge review (ReviewKD): stage maps of the student, fused from deep to shallow, against those of the teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from mlkd.losses.base import BaseLoss, LossInputs, Need, wide

Shape = tuple[int, int, int]  # channels, height, width of a stage map


def hierarchical_context(student: Float[Tensor, "B C H W"], teacher: Float[Tensor, "B C H W"]) -> Float[Tensor, ""]:
    """Weighted mean of the mean squared differences of two maps and of their average pools to 4 x 4, 2 x 2 and 1 x 1.

    Chen et al. 2021, sec. 3.4, with weights 1, 1/2, 1/4 and 1/8; pools not smaller than the height are left out.
    """
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

    kind: Literal["reviewkd"] = "reviewkd"
    ramp_epochs: float = 20.0

    def value(self, inputs: LossInputs) -> Float[Tensor, ""]:
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
        stages = min(len(student), len(teacher))
        if not stages:
            raise ValueError(
                f"loss {self.kind}: expected a student with a trainable stage and a teacher with stage maps, got "
                f"{student} and {teacher}; lower frozen_groups"
            )
        return Review(student[-stages:], teacher[-stages:])


class Review(nn.Module):
    """Fuses stage maps from deep to shallow; each fusion also passes its map to the next shallower one."""

    def __init__(self, student: Sequence[Shape], teacher: Sequence[Shape]) -> None:
        super().__init__()
        middle = min(512, student[-1][0])
        self.stages = nn.ModuleList(
            Fusion(given[0], middle, wanted, fuses=depth < len(student) - 1)
            for depth, (given, wanted) in enumerate(zip(student, teacher, strict=True))
        )

    def forward(self, maps: tuple[Float[Tensor, "B C H W"], ...]) -> tuple[Float[Tensor, "B Ct Ht Wt"], ...]:
        deeper: Tensor | None = None
        fused = []
        for stage, given in zip(reversed(self.stages), reversed(maps), strict=False):
            out, deeper = stage(given, deeper)
            fused.append(out)
        return tuple(reversed(fused))


class Fusion(nn.Module):
    """Attention-based fusion of a stage map with the fused deeper one.  Chen et al. 2021, sec. 3.3."""

    def __init__(self, channels: int, middle: int, wanted: Shape, *, fuses: bool) -> None:
        super().__init__()
        self.size = wanted[1:]
        reduce = nn.Conv2d(channels, middle, 1, bias=False)
        expand = nn.Conv2d(middle, wanted[0], 3, padding=1, bias=False)
        for convolution in (reduce, expand):
            nn.init.kaiming_uniform_(convolution.weight, a=1)
        self.reduce = nn.Sequential(reduce, nn.BatchNorm2d(middle))
        self.expand = nn.Sequential(expand, nn.BatchNorm2d(wanted[0]))
        self.attention = nn.Conv2d(2 * middle, 2, 1) if fuses else None

    def forward(
        self, given: Float[Tensor, "B C H W"], deeper: Float[Tensor, "B M h w"] | None
    ) -> tuple[Float[Tensor, "B Ct Ht Wt"], Float[Tensor, "B M Ht Wt"]]:
        middle = self.reduce(given)
        if self.attention is not None and deeper is not None:
            deeper = interpolate(deeper, middle.shape[2:], mode="nearest")
            shares = self.attention(torch.cat([middle, deeper], dim=1)).sigmoid()
            middle = middle * shares[:, :1] + deeper * shares[:, 1:]
        if middle.shape[2:] != self.size:
            middle = interpolate(middle, self.size, mode="nearest")
        return self.expand(middle), middle
