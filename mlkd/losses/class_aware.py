"""Class-aware label-wise embedding distillation (CD)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from mlkd.losses.base import BaseLoss, LossInputs, Need

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor


def class_aware(
    student: Float[Tensor, "B L Ds"], teacher: Float[Tensor, "B L Dt"], positive: Bool[Tensor, "B L"]
) -> Float[Tensor, ""]:
    """Structure of the positive images of each label; sum over labels, divided by the number of images.

    Yang et al. 2023, class-aware part.  A label with fewer than three positives in the batch gives 0.
    """
    from mlkd.losses.structure import columns_of_three, structure

    image, label, sizes = columns_of_three(positive)
    return structure(student[image, label], teacher[image, label], sizes) / len(positive)


@dataclass(frozen=True, kw_only=True)
class ClassAware(BaseLoss):
    """`class_aware` between the label-wise embeddings of student and teacher.

    With `memory`, the trainer adds the last positives of each label from earlier batches; 0 is the published method.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"teacher", "embeddings"})
    compares_images: ClassVar[bool] = True

    kind: Literal["class_aware"] = "class_aware"
    memory: int = field(default=0, metadata={"identity": "unless default"})  # positives of each label

    def value(self, inputs: LossInputs) -> Float[Tensor, ""]:
        student, teacher = (outputs.label_embeddings(self.kind) for outputs in (inputs.student, inputs.teacher))
        return class_aware(student, teacher, inputs.positives())
