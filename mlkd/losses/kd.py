"""Knowledge distillation with one softmax over all labels, the baseline that is ill-posed for many labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import log_softmax

from mlkd.losses.base import Need, check_hyperparameters, check_temperature, wide
from mlkd.models.outputs import Outputs


def kd(student: Float[Tensor, "B L"], teacher: Float[Tensor, "B L"], temperature: float = 4.0) -> Float[Tensor, ""]:
    """KL(teacher || student) of softmaxes over the labels times T^2, mean over images.  Hinton et al. 2015."""
    s = wide(student)
    log_s = log_softmax(s / temperature, dim=1)
    log_t = log_softmax(teacher.detach().to(s) / temperature, dim=1)
    return (log_t.exp() * (log_t - log_s)).sum() * temperature**2 / len(s)


@dataclass(frozen=True, kw_only=True)
class Kd:
    """`kd` between student and teacher; ground truth unused."""

    needs: ClassVar[frozenset[Need]] = frozenset({"teacher"})
    compares_images: ClassVar[bool] = False

    kind: Literal["kd"] = "kd"
    weight: float = 1.0
    ramp_epochs: float = 0.0
    temperature: float = 4.0

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
        return kd(student.logits, teacher.logits, self.temperature)
