"""The adapter of ReviewKD: fuses the student's stage maps from deep to shallow."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mlkd.losses.base import Shape


class Review(nn.Module):
    """Fuses stage maps from deep to shallow; each fusion also passes its map to the next shallower one."""

    def __init__(self, student: Sequence[Shape], teacher: Sequence[Shape], channels: int) -> None:
        super().__init__()
        middle = min(channels, student[-1][0])
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
