"""Multi-label logits distillation (MLD): each label is a binary problem of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from mlkd.losses.base import BaseLoss, LossInputs, Need, check_temperature, wide

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def bernoulli_kl(student: Float[Tensor, "B L"], teacher: Float[Tensor, "B L"]) -> Float[Tensor, "B L"]:
    """KL(teacher || student) of the Bernoulli distribution of each logit."""

    from torch.nn.functional import logsigmoid

    yes = teacher.sigmoid() * (logsigmoid(teacher) - logsigmoid(student))
    no = (-teacher).sigmoid() * (logsigmoid(-teacher) - logsigmoid(-student))
    return yes + no


def label_kl(
    student: Float[Tensor, "B L"], teacher: Float[Tensor, "B L"], temperature: float = 1.0
) -> Float[Tensor, ""]:
    """KL(teacher || student) of L Bernoulli distributions times temperature^2; sum over labels, mean over images.

    Yang et al. 2023, logits part.  Computed in logit space: the published clamp of sigmoids gives inf at logits of 17.
    """
    s = wide(student)
    return bernoulli_kl(s / temperature, teacher.detach().to(s) / temperature).sum() * temperature**2 / len(s)


@dataclass(frozen=True, kw_only=True)
class LabelKL(BaseLoss):
    """`label_kl` between student and teacher; the targets are not used."""

    needs: ClassVar[frozenset[Need]] = frozenset({"teacher"})

    kind: Literal["label_kl"] = "label_kl"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_temperature(self.kind, self.temperature)

    def value(self, inputs: LossInputs) -> Float[Tensor, ""]:
        return label_kl(inputs.student.logits, inputs.teacher.logits, self.temperature)
