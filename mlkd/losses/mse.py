"""Squared difference of logits or scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Bool, Float
from torch import Tensor

from mlkd.losses.base import Need, check_hyperparameters, wide
from mlkd.models.outputs import Outputs


def mse(
    student: Float[Tensor, "B L"], teacher: Float[Tensor, "B L"], on: Literal["logits", "scores"] = "logits"
) -> Float[Tensor, ""]:
    """Squared difference of logits, or of their sigmoids, summed over labels, mean over images."""
    s = wide(student)
    t = teacher.detach().to(s)
    difference = s - t if on == "logits" else s.sigmoid() - t.sigmoid()
    return difference.square().sum() / len(s)


@dataclass(frozen=True, kw_only=True)
class Mse:
    """`mse` between student and teacher; ground truth unused."""

    needs: ClassVar[frozenset[Need]] = frozenset({"teacher"})
    compares_images: ClassVar[bool] = False

    kind: Literal["mse"] = "mse"
    weight: float = 1.0
    ramp_epochs: float = 0.0
    on: Literal["logits", "scores"] = "logits"

    def __post_init__(self) -> None:
        check_hyperparameters(self.kind, weight=self.weight, ramp_epochs=self.ramp_epochs)
        if self.on not in ("logits", "scores"):
            raise ValueError(f"loss {self.kind}: on: expected logits or scores, got {self.on!r}")

    def __call__(
        self,
        student: Outputs,
        teacher: Outputs,
        targets: Float[Tensor, "B L"],
        label_mask: Bool[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, ""]:
        return mse(student.logits, teacher.logits, self.on)
