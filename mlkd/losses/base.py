"""What all losses share: what they may ask for, positives among unknown labels, checks of hyper-parameters."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Need = Literal["teacher", "embeddings", "pooled", "features"]
CONFIDENT = 0.8  # a teacher's score from which a decision that nobody made counts as positive


def positives(
    targets: Float[Tensor, "B L"], label_mask: Bool[Tensor, "B L"] | None, teacher: Float[Tensor, "B L"]
) -> Bool[Tensor, "B L"]:
    """Known positives and, where nobody knows, the teacher's scores of at least CONFIDENT; `teacher` holds logits."""
    if label_mask is None:
        return targets > 0
    return torch.where(label_mask, targets > 0, teacher.sigmoid() >= CONFIDENT)


def wide(values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The values in at least float32; squares overflow in half precision and small differences vanish."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def check_hyperparameters(loss: str, **positive: float) -> None:
    """ValueError naming the first value that is not a finite number >= 0."""
    for name, value in positive.items():
        if not 0 <= value < float("inf"):
            raise ValueError(f"loss {loss}: {name}: expected a finite number of at least 0, got {value}")


def check_temperature(loss: str, temperature: float) -> None:
    """ValueError unless it is a finite number > 0."""
    if not 0 < temperature < float("inf"):
        raise ValueError(f"loss {loss}: temperature: expected more than 0, got {temperature}")
