"""Partial softmax (PS): each positive label against all negatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import log_softmax

from mlkd.losses.base import Need, check_hyperparameters, wide
from mlkd.losses.label_kl import bernoulli_kl
from mlkd.models.outputs import Outputs


def partial_softmax(
    student: Float[Tensor, "B L"],
    teacher: Float[Tensor, "B L"],
    targets: Float[Tensor, "B L"],
    label_mask: Bool[Tensor, "B L"] | None = None,
) -> Float[Tensor, ""]:
    """KL(teacher || student) of the softmax over a positive and the negatives, summed over positives, mean over images.

    Yang et al. 2023, the partial softmax they compare with.  By the chain rule of KL: positive or not, plus the
    teacher's share of the negatives times the KL among them, so that no (B, L, L) is needed.  Unknown decisions take
    no part; an image without positives or without negatives gives 0.
    """
    positive, negative = targets > 0, targets <= 0
    if label_mask is not None:
        positive, negative = positive & label_mask, negative & label_mask
    s = wide(student)
    t = teacher.detach().to(s)
    log_s, all_s = _among(s, negative)
    log_t, all_t = _among(t, negative)
    among_negatives = (log_t.exp() * (log_t - log_s)).where(negative, 0.0).sum(1, keepdim=True)
    each = bernoulli_kl(s - all_s, t - all_t) + (all_t - t).sigmoid() * among_negatives
    return each.where(positive, 0.0).sum() / len(s)


def _among(
    logits: Float[Tensor, "B L"], chosen: Bool[Tensor, "B L"]
) -> tuple[Float[Tensor, "B L"], Float[Tensor, "B 1"]]:
    """Log-softmax and log-sum-exp over the chosen labels; finite, but without meaning, elsewhere."""
    kept = logits.where(chosen, torch.finfo(logits.dtype).min)  # -inf would give nan where none is chosen
    return log_softmax(kept, dim=1), kept.logsumexp(1, keepdim=True)


@dataclass(frozen=True, kw_only=True)
class PartialSoftmax:
    """`partial_softmax` between student and teacher, positives and negatives from the ground truth."""

    needs: ClassVar[frozenset[Need]] = frozenset({"teacher"})
    compares_images: ClassVar[bool] = False

    kind: Literal["partial_softmax"] = "partial_softmax"
    weight: float = 1.0
    ramp_epochs: float = 0.0

    def __post_init__(self) -> None:
        check_hyperparameters(self.kind, weight=self.weight, ramp_epochs=self.ramp_epochs)

    def __call__(
        self,
        student: Outputs,
        teacher: Outputs,
        targets: Float[Tensor, "B L"],
        label_mask: Bool[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, ""]:
        return partial_softmax(student.logits, teacher.logits, targets, label_mask)
