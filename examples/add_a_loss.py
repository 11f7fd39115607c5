"""Try a loss of your own: move the logits of a student to those of a teacher with it.

    python -m examples.add_a_loss

CONTRIBUTING.md says how a recipe can use the loss.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from mlkd.losses.base import Need, check_hyperparameters, wide
from mlkd.models.outputs import Outputs


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """1 - cosine similarity of the logits of student and teacher; mean over images."""

    needs: ClassVar[frozenset[Need]] = frozenset({"teacher"})
    compares_images: ClassVar[bool] = False

    kind: Literal["cosine"] = "cosine"
    weight: float = 1.0
    ramp_epochs: float = 0.0

    def __post_init__(self) -> None:
        check_hyperparameters(self.kind, weight=self.weight, ramp_epochs=self.ramp_epochs)

    def __call__(self, student: Outputs, teacher: Outputs, targets: Tensor, label_mask: Tensor | None = None) -> Tensor:
        return (1 - cosine_similarity(wide(student.logits), wide(teacher.logits.detach()), dim=1)).mean()


def main() -> None:
    """Print the loss before and after 100 steps of gradient descent."""
    torch.manual_seed(0)
    loss, teacher = Cosine(), Outputs(torch.randn(32, 20))  # 32 images, 20 labels
    logits = torch.randn(32, 20, requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=0.1)
    for step in range(101):
        value = loss(Outputs(logits), teacher, targets=torch.zeros(32, 20))
        if step in (0, 100):
            print(f"step {step}: {value.item():.3f}")
        optimiser.zero_grad()
        value.backward()
        optimiser.step()


if __name__ == "__main__":
    main()
