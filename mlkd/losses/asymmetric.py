"""Asymmetric loss (ASL): easy negatives weigh little, and the easiest nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from mlkd.losses.base import Need, check_hyperparameters, wide
from mlkd.models.outputs import Outputs


def asymmetric(
    logits: Float[Tensor, "B L"],
    targets: Float[Tensor, "B L"],
    label_mask: Bool[Tensor, "B L"] | None = None,
    *,
    gamma_negative: float = 4.0,
    gamma_positive: float = 1.0,
    clip: float = 0.05,
) -> Float[Tensor, ""]:
    """Focal cross-entropy of the known decisions, negatives' scores less `clip`; sum over labels, mean over images.

    Ben-Baruch et al. 2021, with their default of focal weights that carry no gradient.  Stays in logit space, where
    their code clamps scores, and divides by the number of images, where theirs sums.
    """
    z = wide(logits)
    positive = targets > 0
    log_yes = logsigmoid(z)
    log_no = torch.logaddexp(logsigmoid(-z), z.new_full((), clip).log()).clamp_max(0.0)  # log(min(1 - p + clip, 1))
    focus = torch.where(positive, (-z).sigmoid() ** gamma_positive, (-log_no.expm1()) ** gamma_negative).detach()
    losses = -focus * torch.where(positive, log_yes, log_no)
    return (losses if label_mask is None else losses.where(label_mask, 0.0)).sum() / len(z)


@dataclass(frozen=True, kw_only=True)
class Asymmetric:
    """`asymmetric` of the student against the ground truth; needs no teacher."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    compares_images: ClassVar[bool] = False

    kind: Literal["asymmetric"] = "asymmetric"
    weight: float = 1.0
    ramp_epochs: float = 0.0
    gamma_negative: float = 4.0
    gamma_positive: float = 1.0
    clip: float = 0.05

    def __post_init__(self) -> None:
        check_hyperparameters(self.kind, weight=self.weight, ramp_epochs=self.ramp_epochs)
        check_hyperparameters(self.kind, gamma_negative=self.gamma_negative, gamma_positive=self.gamma_positive)
        if not 0 <= self.clip < 1:
            raise ValueError(f"loss {self.kind}: clip: expected at least 0 and below 1, got {self.clip}")

    def __call__(
        self,
        student: Outputs,
        teacher: Outputs,
        targets: Float[Tensor, "B L"],
        label_mask: Bool[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, ""]:
        return asymmetric(
            student.logits,
            targets,
            label_mask,
            gamma_negative=self.gamma_negative,
            gamma_positive=self.gamma_positive,
            clip=self.clip,
        )
