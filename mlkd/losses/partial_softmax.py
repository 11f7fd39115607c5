"""Partial softmax (PS): a softmax over each positive label and all negative ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from mlkd.losses.base import BaseLoss, LossInputs, Need, wide
from mlkd.losses.label_kl import bernoulli_kl

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor


def partial_softmax(
    student: Float[Tensor, "B L"],
    teacher: Float[Tensor, "B L"],
    targets: Float[Tensor, "B L"],
    label_mask: Bool[Tensor, "B L"] | None = None,
) -> Float[Tensor, ""]:
    """KL(teacher || student) of the softmax over a positive and the negatives; sum over positives, mean over images.

    Yang et al. 2023, where it is a baseline.  The chain rule of KL avoids a (B, L, L) tensor: the KL of the positive
    against all negatives, plus the teacher's share of the negatives times the KL among them.  Unknown decisions are
    ignored; an image without positives or without negatives gives 0.
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
    """Log-softmax and log-sum-exp over the chosen labels; finite but meaningless elsewhere."""

    import torch
    from torch.nn.functional import log_softmax

    masked = logits.where(chosen, torch.finfo(logits.dtype).min)  # -inf would give nan where none is chosen
    return log_softmax(masked, dim=1), masked.logsumexp(1, keepdim=True)


@dataclass(frozen=True, kw_only=True)
class PartialSoftmax(BaseLoss):
    """`partial_softmax` between student and teacher; positives and negatives are those of the targets."""

    needs: ClassVar[frozenset[Need]] = frozenset({"teacher"})

    kind: Literal["partial_softmax"] = "partial_softmax"

    def value(self, inputs: LossInputs) -> Float[Tensor, ""]:
        return partial_softmax(inputs.student.logits, inputs.teacher.logits, inputs.targets, inputs.label_mask)
