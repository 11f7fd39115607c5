"""Binary cross-entropy, the usual classification loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from mlkd.losses.base import Need, check_hyperparameters, wide
from mlkd.models.outputs import Outputs


def bce(
    logits: Float[Tensor, "B L"],
    targets: Float[Tensor, "B L"],
    label_mask: Bool[Tensor, "B L"] | None = None,
    positive_weight: float | tuple[float, ...] = 1.0,
) -> Float[Tensor, ""]:
    """Cross-entropy of the known decisions, positives times `positive_weight`; sum over labels, mean over images.

    The weight is one for all labels, or L of them.

    The mean counts images without labels too: they add nothing, and take nothing from what is distilled on them.
    """
    z = wide(logits)
    counted = None if label_mask is None else label_mask.to(z)
    weight = z.new_tensor(positive_weight)
    return binary_cross_entropy_with_logits(z, targets.to(z), counted, pos_weight=weight, reduction="sum") / len(z)


@dataclass(frozen=True, kw_only=True)
class Bce:
    """`bce` of the student against the ground truth; needs no teacher."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    compares_images: ClassVar[bool] = False

    kind: Literal["bce"] = "bce"
    weight: float = 1.0
    ramp_epochs: float = 0.0
    positive_weight: float | tuple[float, ...] = 1.0

    def __post_init__(self) -> None:
        check_hyperparameters(self.kind, weight=self.weight, ramp_epochs=self.ramp_epochs)
        weights = self.positive_weight if isinstance(self.positive_weight, tuple) else (self.positive_weight,)
        for weight in weights:
            check_hyperparameters(self.kind, positive_weight=weight)

    def __call__(
        self,
        student: Outputs,
        teacher: Outputs,
        targets: Float[Tensor, "B L"],
        label_mask: Bool[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, ""]:
        labels = targets.shape[1]
        if isinstance(self.positive_weight, tuple) and len(self.positive_weight) != labels:
            raise ValueError(
                f"loss {self.kind}: positive_weight: expected 1 or {labels} numbers, got {len(self.positive_weight)}"
            )
        return bce(student.logits, targets, label_mask, self.positive_weight)
