"""What a tagger puts out and what every loss has in common."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Outputs:
    """A tagger's outputs for B images and L labels; the embedding length D may differ between student and teacher."""

    logits: Float[Tensor, "B L"]
    embeddings: Float[Tensor, "B L D"] | None = None

    def label_embeddings(self, loss: str) -> Float[Tensor, "B L D"]:
        """The label-wise embeddings; ValueError names the loss that asked when the head has none."""
        if self.embeddings is None:
            raise ValueError(f"loss {loss}: expected label-wise embeddings, got none; choose a head that has them")
        return self.embeddings


def check_hyperparameters(loss: str, **positive: float) -> None:
    """ValueError naming the first value that is not a finite number >= 0."""
    for name, value in positive.items():
        if not 0 <= value < float("inf"):
            raise ValueError(f"loss {loss}: {name}: expected a finite number of at least 0, got {value}")
