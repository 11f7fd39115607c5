"""Multi-label logits distillation (MLD): every label is its own binary problem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from mlkd.losses.base import Need, check_hyperparameters, check_temperature, wide
from mlkd.models.outputs import Outputs


def bernoulli_kl(student: Float[Tensor, "B L"], teacher: Float[Tensor, "B L"]) -> Float[Tensor, "B L"]:
    """KL(teacher || student) of the Bernoulli behind each logit."""
    yes = teacher.sigmoid() * (logsigmoid(teacher) - logsigmoid(student))
    no = (-teacher).sigmoid() * (logsigmoid(-teacher) - logsigmoid(-student))
    return yes + no


def label_kl(
    student: Float[Tensor, "B L"], teacher: Float[Tensor, "B L"], temperature: float = 1.0
) -> Float[Tensor, ""]:
    """KL(teacher || student) of L Bernoullis times T^2, summed over labels, mean over images.

    Yang et al. 2023, logits part.  Stays in logit space: the published clamp of sigmoids gives inf at logits of 17.
    """
    s = wide(student)
    return bernoulli_kl(s / temperature, teacher.detach().to(s) / temperature).sum() * temperature**2 / len(s)


@dataclass(frozen=True, kw_only=True)
class LabelKL:
    """`label_kl` between student and teacher; ground truth unused."""

    needs: ClassVar[frozenset[Need]] = frozenset({"teacher"})
    compares_images: ClassVar[bool] = False

    kind: Literal["label_kl"] = "label_kl"
    weight: float = 1.0
    ramp_epochs: float = 0.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_hyperparameters(self.kind, weight=self.weight, ramp_epochs=self.ramp_epochs)
        check_temperature(self.kind, self.temperature)

    def __call__(
        self,
        student: Outputs,
        teacher: Outputs,
        targets: Float[Tensor, "B L"],
        label_mask: Bool[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, ""]:
        return label_kl(student.logits, teacher.logits, self.temperature)
