"""Class-aware label-wise embedding distillation (CD)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from jaxtyping import Bool, Float
from torch import Tensor

from mlkd.losses.base import Need, check_hyperparameters, positives
from mlkd.losses.structure import columns_of_three, structure
from mlkd.models.outputs import Outputs


def class_aware(
    student: Float[Tensor, "B L Ds"], teacher: Float[Tensor, "B L Dt"], positive: Bool[Tensor, "B L"]
) -> Float[Tensor, ""]:
    """Structure between the positive images of each label, summed over labels, over the number of images.

    Yang et al. 2023, class-aware part.  A label with two positives in the batch gives 0: a lone distance over
    its own mean is 1.
    """
    image, label, sizes = columns_of_three(positive)
    return structure(student[image, label], teacher[image, label], sizes) / len(positive)


@dataclass(frozen=True, kw_only=True)
class ClassAware:
    """`class_aware` between the label-wise embeddings of student and teacher, over `positives`.

    `memory` positives of each label are kept from earlier batches, by the trainer; 0 is the published method.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"teacher", "embeddings"})
    compares_images: ClassVar[bool] = True

    kind: Literal["class_aware"] = "class_aware"
    weight: float = 1.0
    ramp_epochs: float = 0.0
    memory: int = field(default=0, metadata={"identity": "unless default"})

    def __post_init__(self) -> None:
        check_hyperparameters(self.kind, weight=self.weight, ramp_epochs=self.ramp_epochs, memory=self.memory)

    def __call__(
        self,
        student: Outputs,
        teacher: Outputs,
        targets: Float[Tensor, "B L"],
        label_mask: Bool[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, ""]:
        chosen = positives(targets, label_mask, teacher.logits)
        return class_aware(student.label_embeddings(self.kind), teacher.label_embeddings(self.kind), chosen)
