"""PCA map distillation: the last stage map of the student against the principal components of the teacher's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from mlkd.losses.base import BaseLoss, LossInputs, Need, Shape, resized_as, wide

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor, nn


def pca_maps(student: Float[Tensor, "B K Hs Ws"], teacher: Float[Tensor, "B Kt Ht Wt"]) -> Float[Tensor, ""]:
    """Mean squared difference of the student's K maps and the teacher's first K, resized to the student's positions."""
    s = wide(student)
    return (s - resized_as(teacher[:, : s.shape[1]], s)).square().mean()


@dataclass(frozen=True, kw_only=True)
class PcaMaps(BaseLoss):
    """`pca_maps` after the student's last stage map went through `adapter`.

    The teacher's last stage map is recorded once as its first `channels` principal components, each with mean 0 and
    variance 1.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"teacher", "last_map"})
    adapts: ClassVar[Need] = "last_map"

    kind: Literal["pca_maps"] = "pca_maps"
    channels: int = 64  # principal components

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels < 1:
            raise ValueError(f"loss {self.kind}: channels: expected at least 1, got {self.channels}")

    def value(self, inputs: LossInputs) -> Float[Tensor, ""]:
        student, teacher = (outputs.last_stage_map(self.kind) for outputs in (inputs.student, inputs.teacher))
        return pca_maps(student, teacher)

    def check_channels(self, recorded: int) -> None:
        """Raise ValueError if fewer principal components of the teacher are recorded than are compared."""
        if recorded < self.channels:
            raise ValueError(
                f"loss {self.kind}: expected {self.channels} principal components of the teacher, got {recorded}; "
                "lower channels, or raise those of the student's training, for which they are recorded"
            )

    def adapter(self, student: Sequence[Shape], _: Sequence[Shape] = ()) -> nn.Module:
        """A trainable module from the last of the student's stage maps to `self.channels` channels.

        Args:
            student: Shapes of the maps of the student's stages that are trained, shallow first.

        Raises:
            ValueError: No stage is trained.
        """
        from torch import nn

        if not student:
            raise ValueError(
                f"loss {self.kind}: expected a student with a trained stage, got none; lower frozen_groups"
            )
        channels = student[-1][0]

        # the batch norm starts it at the variance of the teacher's maps: without it, training loses its first epoch
        return nn.Sequential(nn.Conv2d(channels, self.channels, 1, bias=False), nn.BatchNorm2d(self.channels))


def components(losses: Iterable[BaseLoss]) -> int:
    """Return how many principal components the losses compare; 0 without a `pca_maps` that has a weight."""
    return max((loss.channels for loss in losses if isinstance(loss, PcaMaps) and loss.weight), default=0)
