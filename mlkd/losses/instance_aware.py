"""Instance-aware label-wise embedding distillation (ID)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Bool, Float
from torch import Tensor

from mlkd.losses.base import Need, check_hyperparameters, positives
from mlkd.losses.structure import columns_of_three, structure
from mlkd.models.outputs import Outputs


def instance_aware(
    student: Float[Tensor, "B L Ds"], teacher: Float[Tensor, "B L Dt"], positive: Bool[Tensor, "B L"]
) -> Float[Tensor, ""]:
    """Structure between the positive labels of each image, summed over images, over the number of images.

    Yang et al. 2023, instance-aware part.  An image with two positives gives 0: one distance over its own mean is 1.
    """
    label, image, sizes = columns_of_three(positive.T)
    return structure(student[image, label], teacher[image, label], sizes) / len(positive)


@dataclass(frozen=True, kw_only=True)
class InstanceAware:
    """`instance_aware` between the label-wise embeddings of student and teacher, over `positives`."""

    needs: ClassVar[frozenset[Need]] = frozenset({"teacher", "embeddings"})
    compares_images: ClassVar[bool] = False

    kind: Literal["instance_aware"] = "instance_aware"
    weight: float = 1.0
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
        chosen = positives(targets, label_mask, teacher.logits)
        return instance_aware(student.label_embeddings(self.kind), teacher.label_embeddings(self.kind), chosen)
