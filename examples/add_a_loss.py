"""Try a loss of your own: move the logits of a student to those of a teacher with it.

    python -m examples.add_a_loss

CONTRIBUTING.md says how a recipe can use the loss.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from mlkd.losses.base import BaseLoss, LossInputs, Need, wide
from mlkd.models.outputs import Outputs


@dataclass(frozen=True, kw_only=True)
class Cosine(BaseLoss):
    """1 - cosine similarity of the logits of student and teacher; mean over images."""

    needs: ClassVar[frozenset[Need]] = frozenset({"teacher"})

    kind: Literal["cosine"] = "cosine"

    def value(self, inputs: LossInputs) -> Tensor:
        student, teacher = wide(inputs.student.logits), wide(inputs.teacher.logits.detach())
        return (1 - cosine_similarity(student, teacher, dim=1)).mean()


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
