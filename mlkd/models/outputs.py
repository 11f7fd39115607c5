"""Outputs of a tagger, student or teacher."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Outputs:
    """A tagger's outputs for B images and L labels; D, F, C, H and W may differ between student and teacher."""

    logits: Float[Tensor, "B L"]
    embeddings: Float[Tensor, "B L D"] | None = None
    pooled: Float[Tensor, "B F"] | None = None  # mean over positions of the backbone's last map
    features: tuple[Float[Tensor, "B C H W"], ...] | None = None  # stage maps, shallow ones first, only when asked for

    def each(self, change: Callable[[Tensor], Tensor]) -> Outputs:
        """The same with every tensor changed; what is not there stays absent."""
        embeddings, pooled = (None if one is None else change(one) for one in (self.embeddings, self.pooled))
        features = None if self.features is None else tuple(change(one) for one in self.features)
        return Outputs(change(self.logits), embeddings, pooled, features)

    def label_embeddings(self, loss: str) -> Float[Tensor, "B L D"]:
        """The label-wise embeddings; ValueError names the loss that asked when the head has none."""
        if self.embeddings is None:
            raise ValueError(f"loss {loss}: expected label-wise embeddings, got none; choose a head that has them")
        return self.embeddings

    def pooled_features(self, loss: str) -> Float[Tensor, "B F"]:
        """The pooled features; ValueError names the loss that asked when there are none."""
        if self.pooled is None:
            raise ValueError(f"loss {loss}: expected pooled features, got none; use a teacher that is a net of ours")
        return self.pooled

    def stage_maps(self, loss: str) -> tuple[Float[Tensor, "B C H W"], ...]:
        """The stage maps; ValueError names the loss that asked when there are none."""
        if self.features is None:
            raise ValueError(f"loss {loss}: expected stage maps, got none; use a teacher that is a net of ours")
        return self.features
