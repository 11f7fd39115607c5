"""Binary cross-entropy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mlkd.losses.base import BaseLoss, LossInputs, wide

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor


def bce(
    logits: Float[Tensor, "B L"],
    targets: Float[Tensor, "B L"],
    label_mask: Bool[Tensor, "B L"] | None = None,
    positive_weight: float | tuple[float, ...] = 1.0,
) -> Float[Tensor, ""]:
    """Cross-entropy of the known decisions; sum over labels, mean over images.

    The mean counts images without a known label too, so that they do not change the weight against other losses.

    Args:
        positive_weight: Factor of positives, one for all labels or L of them.
    """

    from torch.nn.functional import binary_cross_entropy_with_logits

    z = wide(logits)
    counted = None if label_mask is None else label_mask.to(z)
    weight = z.new_tensor(positive_weight)
    return binary_cross_entropy_with_logits(z, targets.to(z), counted, pos_weight=weight, reduction="sum") / len(z)


@dataclass(frozen=True, kw_only=True)
class Bce(BaseLoss):
    """`bce` of the student against the ground truth; no teacher needed."""

    kind: Literal["bce"] = "bce"
    positive_weight: float | tuple[float, ...] = 1.0

    def value(self, inputs: LossInputs) -> Float[Tensor, ""]:
        labels = inputs.targets.shape[1]
        if isinstance(self.positive_weight, tuple) and len(self.positive_weight) != labels:
            raise ValueError(
                f"loss {self.kind}: positive_weight: expected 1 or {labels} numbers, got {len(self.positive_weight)}"
            )
        return bce(inputs.student.logits, inputs.targets, inputs.label_mask, self.positive_weight)
