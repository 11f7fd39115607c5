"""Binary cross-entropy, the classification loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from mlkd.losses.base import Need, Outputs, check_hyperparameters


def bce(logits: Float[Tensor, "B L"], targets: Float[Tensor, "B L"]) -> Float[Tensor, ""]:
    """Binary cross-entropy of every label, summed over labels, mean over images."""
    return binary_cross_entropy_with_logits(logits, targets.to(logits), reduction="sum") / len(logits)


@dataclass(frozen=True, kw_only=True)
class Bce:
    """`bce` of the student against the ground truth; needs no teacher."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    compares_images: ClassVar[bool] = False

    kind: Literal["bce"] = "bce"
    weight: float = 1.0
    ramp_epochs: float = 0.0

    def __post_init__(self) -> None:
        check_hyperparameters(self.kind, weight=self.weight, ramp_epochs=self.ramp_epochs)

    def __call__(
        self,
        student: Outputs,
        teacher: Outputs,
        targets: Float[Tensor, "B L"],
        known: Bool[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, ""]:
        return bce(student.logits, targets)
