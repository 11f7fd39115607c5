"""Instance-aware label-wise embedding distillation (ID)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from mlkd.losses.base import BaseLoss, LossInputs, Need

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor


def instance_aware(
    student: Float[Tensor, "B L Ds"], teacher: Float[Tensor, "B L Dt"], positive: Bool[Tensor, "B L"]
) -> Float[Tensor, ""]:
    """Structure of the positive labels of each image; mean over images.

    Yang et al. 2023, instance-aware part.  An image with fewer than three positives gives 0.
    """
    from mlkd.losses.structure import columns_of_three, structure

    label, image, sizes = columns_of_three(positive.T)
    return structure(student[image, label], teacher[image, label], sizes) / len(positive)


@dataclass(frozen=True, kw_only=True)
class InstanceAware(BaseLoss):
    """`instance_aware` between the label-wise embeddings of student and teacher."""

    needs: ClassVar[frozenset[Need]] = frozenset({"teacher", "embeddings"})

    kind: Literal["instance_aware"] = "instance_aware"

    def value(self, inputs: LossInputs) -> Float[Tensor, ""]:
        student, teacher = (outputs.label_embeddings(self.kind) for outputs in (inputs.student, inputs.teacher))
        return instance_aware(student, teacher, inputs.positives())
