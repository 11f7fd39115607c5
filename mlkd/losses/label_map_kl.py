"""Label map distillation: each label at each position is a binary problem of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from mlkd.losses.base import BaseLoss, LossInputs, Need, check_temperature, resized_as, wide
from mlkd.losses.label_kl import bernoulli_kl

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def label_map_kl(
    student: Float[Tensor, "B L Hs Ws"], teacher: Float[Tensor, "B L Ht Wt"], temperature: float = 1.0
) -> Float[Tensor, ""]:
    """KL(teacher || student) of a Bernoulli distribution for each label and position, times temperature^2.

    Sum over labels, mean over positions and images.  The teacher's logits are resized to the student's positions.
    """
    s = wide(student)
    t = resized_as(teacher, s)
    divergences = bernoulli_kl(s / temperature, t / temperature)
    return divergences.sum(1).mean() * temperature**2


@dataclass(frozen=True, kw_only=True)
class LabelMapKL(BaseLoss):
    """`label_map_kl` between the label maps of student and teacher; the targets are not used."""

    needs: ClassVar[frozenset[Need]] = frozenset({"teacher", "label_maps"})

    kind: Literal["label_map_kl"] = "label_map_kl"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_temperature(self.kind, self.temperature)

    def value(self, inputs: LossInputs) -> Float[Tensor, ""]:
        student, teacher = (outputs.maps_of_labels(self.kind) for outputs in (inputs.student, inputs.teacher))
        return label_map_kl(student, teacher, self.temperature)
