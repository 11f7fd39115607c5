"""Probabilistic knowledge transfer (PKT): the probability that images of a batch are neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from mlkd.losses.base import BaseLoss, LossInputs, Need, wide

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

_EPSILON = 1e-7  # of the published code, in norms and logarithms


def pkt(student: Float[Tensor, "B Fs"], teacher: Float[Tensor, "B Ft"]) -> Float[Tensor, ""]:
    """p_t log(p_t / p_s) of the neighbour probabilities in the batch, mean over B^2 pairs.

    Passalis and Tefas 2018.  Computed in float64, which autocast does not touch, because the terms nearly cancel.
    """
    p_s, p_t = _neighbours(student.double()), _neighbours(teacher.detach().double())
    return (p_t * ((p_t + _EPSILON) / (p_s + _EPSILON)).log()).mean().to(wide(student))


def _neighbours(features: Float[Tensor, "B F"]) -> Float[Tensor, "B B"]:
    """Cosine similarities mapped to [0, 1], each row divided by its sum."""

    import torch

    directions = features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + _EPSILON)
    similarities: Tensor = (directions @ directions.T + 1) / 2
    return similarities / similarities.sum(1, keepdim=True)


@dataclass(frozen=True, kw_only=True)
class Pkt(BaseLoss):
    """`pkt` between the pooled features of student and teacher; the targets are not used."""

    needs: ClassVar[frozenset[Need]] = frozenset({"teacher", "pooled"})
    compares_images: ClassVar[bool] = True

    kind: Literal["pkt"] = "pkt"
    weight: float = 30000.0

    def value(self, inputs: LossInputs) -> Float[Tensor, ""]:
        return pkt(inputs.student.pooled_features(self.kind), inputs.teacher.pooled_features(self.kind))
