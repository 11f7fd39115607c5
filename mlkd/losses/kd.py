"""Knowledge distillation with one softmax over all labels: the baseline, ill-posed for images with several labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from mlkd.losses.base import BaseLoss, LossInputs, Need, check_temperature, wide

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def kd(student: Float[Tensor, "B L"], teacher: Float[Tensor, "B L"], temperature: float = 4.0) -> Float[Tensor, ""]:
    """KL(teacher || student) of the softmax over labels times temperature^2, mean over images.  Hinton et al. 2015."""

    from torch.nn.functional import log_softmax

    s = wide(student)
    log_s = log_softmax(s / temperature, dim=1)
    log_t = log_softmax(teacher.detach().to(s) / temperature, dim=1)
    return (log_t.exp() * (log_t - log_s)).sum() * temperature**2 / len(s)


@dataclass(frozen=True, kw_only=True)
class Kd(BaseLoss):
    """`kd` between student and teacher; the targets are not used."""

    needs: ClassVar[frozenset[Need]] = frozenset({"teacher"})

    kind: Literal["kd"] = "kd"
    temperature: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_temperature(self.kind, self.temperature)

    def value(self, inputs: LossInputs) -> Float[Tensor, ""]:
        return kd(inputs.student.logits, inputs.teacher.logits, self.temperature)
