"""What all losses share: weight, ramp, range checks, and which decisions count as positive."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from mlkd.models.outputs import Outputs

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

Need = Literal["teacher", "embeddings", "pooled", "features", "label_maps", "last_map"]
MAPS: tuple[Need, ...] = ("features", "label_maps", "last_map")  # outputs that are computed only for a loss on them
Shape = tuple[int, int, int]  # channels, height, width of a stage map
CONFIDENT = 0.8  # a teacher's score from which an unknown decision counts as positive


class LossInputs(NamedTuple):
    """One batch as a loss sees it; `label_mask` is False where a target is unknown, None where all are known."""

    student: Outputs
    teacher: Outputs
    targets: Float[Tensor, "B L"]
    label_mask: Bool[Tensor, "B L"] | None = None

    def positives(self) -> Bool[Tensor, "B L"]:
        """The decisions that count as positive in structural losses."""
        return positives(self.targets, self.label_mask, self.teacher.logits)


@dataclass(frozen=True, kw_only=True)
class BaseLoss(ABC):
    """A loss term: hyper-parameters and `value`; every number in its fields is finite and at least 0.

    Attributes:
        needs: What the loss compares, besides the student's logits.
        compares_images: Whether the loss compares images of a batch with each other, so that it needs the batch of
            all processes.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    compares_images: ClassVar[bool] = False

    kind: str
    weight: float = 1.0  # factor of the term in the total
    ramp_epochs: float = 0.0  # the weight rises from 0 over so many epochs

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, int | float) and not 0 <= number < float("inf"):
                    raise ValueError(
                        f"loss {self.kind}: {field.name}: expected a finite number of at least 0, got {number}"
                    )

    def __call__(
        self,
        student: Outputs,
        teacher: Outputs,
        targets: Float[Tensor, "B L"],
        label_mask: Bool[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, ""]:
        """The unweighted value of one batch.

        Args:
            student: Outputs that carry gradient.
            teacher: Outputs of the same images and labels; no gradient reaches them.
            targets: 1 where the image has the label, else 0.
            label_mask: False where the target is unknown; None where all targets are known.

        Raises:
            ValueError: An output that the loss needs is missing.
        """
        return self.value(LossInputs(student, teacher, targets, label_mask))

    @abstractmethod
    def value(self, inputs: LossInputs) -> Float[Tensor, ""]:
        """The unweighted value of one batch."""

    def weight_at(self, epochs: float) -> float:
        """The weight after so many epochs: it rises linearly from 0 over the first `ramp_epochs`."""
        return self.weight * (min(1.0, epochs / self.ramp_epochs) if self.ramp_epochs else 1.0)


def positives(
    targets: Float[Tensor, "B L"], label_mask: Bool[Tensor, "B L"] | None, teacher: Float[Tensor, "B L"]
) -> Bool[Tensor, "B L"]:
    """Known positives and, among unknown decisions, teacher scores of at least CONFIDENT; `teacher` holds logits."""

    import torch

    if label_mask is None:
        return targets > 0
    return torch.where(label_mask, targets > 0, teacher.sigmoid() >= CONFIDENT)


def wide(values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The values in at least float32: in half precision squares overflow and small differences vanish."""

    import torch

    return values.to(torch.promote_types(values.dtype, torch.float32))


def resized_as(maps: Float[Tensor, "B C H W"], like: Float[Tensor, "B K h w"]) -> Float[Tensor, "B C h w"]:
    """The teacher's maps at the positions of the student's, bilinearly and with antialiasing; without gradient."""

    from torch.nn.functional import interpolate

    return interpolate(maps.detach().to(like), like.shape[2:], mode="bilinear", antialias=True)


def check_temperature(loss: str, temperature: float) -> None:
    """Raise ValueError unless the temperature is above 0."""
    if not temperature > 0:
        raise ValueError(f"loss {loss}: temperature: expected more than 0, got {temperature}")
