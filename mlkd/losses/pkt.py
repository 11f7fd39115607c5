"""Probabilistic knowledge transfer (PKT): how likely each image of a batch picks each other as its neighbour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mlkd.losses.base import Need, check_hyperparameters, wide
from mlkd.models.outputs import Outputs

_EPSILON = 1e-7  # of the published code, in norms and logarithms


def pkt(student: Float[Tensor, "B Fs"], teacher: Float[Tensor, "B Ft"]) -> Float[Tensor, ""]:
    """p_t log(p_t / p_s) of the batch's neighbour probabilities, mean over B^2 pairs.

    Passalis and Tefas 2018.  Computed in float64, which autocast leaves alone: the terms nearly cancel.
    """
    p_s, p_t = _neighbours(student.double()), _neighbours(teacher.detach().double())
    return (p_t * ((p_t + _EPSILON) / (p_s + _EPSILON)).log()).mean().to(wide(student))


def _neighbours(features: Float[Tensor, "B F"]) -> Float[Tensor, "B B"]:
    """Cosines moved to [0, 1], every row over its sum."""
    directions = features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + _EPSILON)
    similarities: Tensor = (directions @ directions.T + 1) / 2
    return similarities / similarities.sum(1, keepdim=True)


@dataclass(frozen=True, kw_only=True)
class Pkt:
    """`pkt` between the pooled features of student and teacher; ground truth unused."""

    needs: ClassVar[frozenset[Need]] = frozenset({"teacher", "pooled"})
    compares_images: ClassVar[bool] = True

    kind: Literal["pkt"] = "pkt"
    weight: float = 30000.0
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
        return pkt(student.pooled_features(self.kind), teacher.pooled_features(self.kind))
