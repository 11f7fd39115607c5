"""Asymmetric loss (ASL): easy negatives have a small weight, the easiest ones none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mlkd.losses.base import BaseLoss, LossInputs, wide

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor


def asymmetric(
    logits: Float[Tensor, "B L"],
    targets: Float[Tensor, "B L"],
    label_mask: Bool[Tensor, "B L"] | None = None,
    *,
    gamma_negative: float = 4.0,
    gamma_positive: float = 1.0,
    clip: float = 0.05,
) -> Float[Tensor, ""]:
    """Focal cross-entropy of the known decisions; sum over labels, mean over images.

    Ben-Baruch et al. 2021, with their default of focal weights without gradient.  Unlike their code, this one stays in
    logit space instead of clamping scores, and takes the mean over images instead of the sum.

    Args:
        gamma_negative: Focal exponent of negatives.
        gamma_positive: Focal exponent of positives.
        clip: Subtracted from the scores of negatives, 0 or more and below 1; a lower score costs nothing.
    """

    import torch
    from torch.nn.functional import logsigmoid

    z = wide(logits)
    positive = targets > 0
    log_yes = logsigmoid(z)
    log_no = torch.logaddexp(logsigmoid(-z), z.new_full((), clip).log()).clamp_max(0.0)  # log(min(1 - p + clip, 1))
    focus = torch.where(positive, (-z).sigmoid() ** gamma_positive, (-log_no.expm1()) ** gamma_negative).detach()
    losses = -focus * torch.where(positive, log_yes, log_no)
    return (losses if label_mask is None else losses.where(label_mask, 0.0)).sum() / len(z)


@dataclass(frozen=True, kw_only=True)
class Asymmetric(BaseLoss):
    """`asymmetric` of the student against the ground truth; no teacher needed."""

    kind: Literal["asymmetric"] = "asymmetric"
    gamma_negative: float = 4.0
    gamma_positive: float = 1.0
    clip: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.clip < 1:
            raise ValueError(f"loss {self.kind}: clip: expected at least 0 and below 1, got {self.clip}")

    def value(self, inputs: LossInputs) -> Float[Tensor, ""]:
        return asymmetric(
            inputs.student.logits,
            inputs.targets,
            inputs.label_mask,
            gamma_negative=self.gamma_negative,
            gamma_positive=self.gamma_positive,
            clip=self.clip,
        )
