"""Outputs of a tagger, student or teacher."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@dataclass(frozen=True)
class Outputs:
    """A tagger's outputs for B images and L labels; D, F, C, H and W may differ between student and teacher."""

    logits: Float[Tensor, "B L"]
    embeddings: Float[Tensor, "B L D"] | None = None
    pooled: Float[Tensor, "B F"] | None = None  # mean over positions of the last map of the backbone
    features: tuple[Float[Tensor, "B C H W"], ...] | None = None  # stage maps, shallow first, only where requested
    label_maps: Float[Tensor, "B L H W"] | None = None  # logits of each position on its own, only where requested
    last_map: Float[Tensor, "B C H W"] | None = None  # the last of the stage maps, only where requested

    def each(self, change: Callable[[Tensor], Tensor]) -> Outputs:
        """A copy with `change` applied to each tensor."""
        features = None if self.features is None else tuple(change(stage) for stage in self.features)
        single = self.embeddings, self.pooled, self.label_maps, self.last_map
        embeddings, pooled, *maps = (None if part is None else change(part) for part in single)
        return Outputs(change(self.logits), embeddings, pooled, features, *maps)

    def label_embeddings(self, loss: str) -> Float[Tensor, "B L D"]:
        """The label-wise embeddings; raises ValueError that names the `loss` if there are none."""
        if self.embeddings is None:
            raise ValueError(f"loss {loss}: expected label-wise embeddings, got none; choose a head that has them")
        return self.embeddings

    def pooled_features(self, loss: str) -> Float[Tensor, "B F"]:
        """The pooled features; raises ValueError that names the `loss` if there are none."""
        if self.pooled is None:
            raise ValueError(f"loss {loss}: expected pooled features, got none; use a teacher trained by this pipeline")
        return self.pooled

    def maps_of_labels(self, loss: str) -> Float[Tensor, "B L H W"]:
        """The label maps; raises ValueError that names the `loss` if there are none."""
        return _recorded(self.label_maps, loss, "label maps")

    def last_stage_map(self, loss: str) -> Float[Tensor, "B C H W"]:
        """The last stage map; raises ValueError that names the `loss` if there is none."""
        return _recorded(self.last_map, loss, "the last stage map")

    def stage_maps(self, loss: str) -> tuple[Float[Tensor, "B C H W"], ...]:
        """The stage maps; raises ValueError that names the `loss` if there are none."""
        if self.features is None:
            raise ValueError(f"loss {loss}: expected stage maps, got none; use a teacher trained by this pipeline")
        return self.features


def _recorded(maps: Tensor | None, loss: str, name: str) -> Tensor:
    if maps is None:
        raise ValueError(
            f"loss {loss}: expected {name}, got none; use a teacher trained by this pipeline, add the loss to "
            "student.training.losses, and rerun teacher_outputs"
        )
    return maps
