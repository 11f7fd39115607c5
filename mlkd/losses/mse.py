"""Squared difference of logits or scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from mlkd.losses.base import BaseLoss, LossInputs, Need, wide

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def mse(
    student: Float[Tensor, "B L"], teacher: Float[Tensor, "B L"], on: Literal["logits", "scores"] = "logits"
) -> Float[Tensor, ""]:
    """Squared difference of logits or of their sigmoids; sum over labels, mean over images."""
    s = wide(student)
    t = teacher.detach().to(s)
    difference = s - t if on == "logits" else s.sigmoid() - t.sigmoid()
    return difference.square().sum() / len(s)


@dataclass(frozen=True, kw_only=True)
class Mse(BaseLoss):
    """`mse` between student and teacher; the targets are not used."""

    needs: ClassVar[frozenset[Need]] = frozenset({"teacher"})

    kind: Literal["mse"] = "mse"
    on: Literal["logits", "scores"] = "logits"

    def value(self, inputs: LossInputs) -> Float[Tensor, ""]:
        return mse(inputs.student.logits, inputs.teacher.logits, self.on)
