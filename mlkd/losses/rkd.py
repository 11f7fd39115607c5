"""Relational knowledge distillation (RKD): distances and angles between the images of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import smooth_l1_loss
from torch.utils.checkpoint import checkpoint

from mlkd.losses.base import Need, check_hyperparameters, wide
from mlkd.models.outputs import Outputs

_CELLS = 2**21  # cosines held at once: 16 MiB in float64


def rkd(
    student: Float[Tensor, "B Fs"],
    teacher: Float[Tensor, "B Ft"],
    distance_weight: float = 25.0,
    angle_weight: float = 50.0,
) -> Float[Tensor, ""]:
    """Smooth L1 of relative distances, mean over B^2 pairs, and of angles' cosines, mean over B^3 triples, weighted.

    Park et al. 2019.  Distances are over the mean of those that are not 0 (the student's mean carries gradient); a
    cosine is 0 where two of the three images coincide.  Computed in float64, which autocast leaves alone.
    """
    s, t = student.double(), teacher.detach().double()
    distances_s, distances_t = _distances(s), _distances(t)
    distance = smooth_l1_loss(_relative(distances_s), _relative(distances_t))
    angle = _angle(_products(s), _inverse(distances_s), _products(t), _inverse(distances_t))
    return (distance_weight * distance + angle_weight * angle).to(wide(student))


def _distances(features: Float[Tensor, "B F"]) -> Float[Tensor, "B B"]:
    # its gradient at distance 0 is 0; the matrix-product form would never give exactly 0
    return torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")


def _relative(distances: Float[Tensor, "B B"]) -> Float[Tensor, "B B"]:
    mean = distances.sum() / (distances > 0).sum().clamp_min(1)
    return distances / mean.where(mean > 0, 1.0)


def _inverse(distances: Float[Tensor, "B B"]) -> Float[Tensor, "B B"]:
    return distances.where(distances > 0, torch.inf).reciprocal()


def _products(features: Float[Tensor, "B F"]) -> Float[Tensor, "B B"]:
    """Inner products around the batch's mean, where they lose the fewest digits."""
    centred = features - features.mean(0)
    return centred @ centred.T


def _angle(*geometry: Float[Tensor, "B B"]) -> Float[Tensor, ""]:
    """Mean over all triples, a few vertices at a time and again in the backward pass: no cube is ever whole."""
    images = len(geometry[0])
    step = max(1, _CELLS // images**2)
    total = geometry[0].new_zeros(())
    for start in range(0, images, step):
        vertices = slice(start, start + step)
        total = total + checkpoint(_angle_at, vertices, *geometry, use_reentrant=False, preserve_rng_state=False)
    return total / images**3


def _angle_at(
    vertices: slice,
    products_s: Float[Tensor, "B B"],
    inverse_s: Float[Tensor, "B B"],
    products_t: Float[Tensor, "B B"],
    inverse_t: Float[Tensor, "B B"],
) -> Float[Tensor, ""]:
    cosines_s, cosines_t = _cosines(vertices, products_s, inverse_s), _cosines(vertices, products_t, inverse_t)
    return smooth_l1_loss(cosines_s, cosines_t, reduction="sum")


def _cosines(vertices: slice, products: Float[Tensor, "B B"], inverse: Float[Tensor, "B B"]) -> Float[Tensor, "V B B"]:
    """(f_j - f_i)(f_k - f_i) over both lengths for vertices i; from inner products, which saves a factor F of work."""
    at = products[vertices]
    between = products - at[:, :, None] - at[:, None, :] + products.diagonal()[vertices, None, None]
    return between * inverse[vertices][:, :, None] * inverse[vertices][:, None, :]


@dataclass(frozen=True, kw_only=True)
class Rkd:
    """`rkd` between the pooled features of student and teacher; ground truth unused."""

    needs: ClassVar[frozenset[Need]] = frozenset({"teacher", "pooled"})
    compares_images: ClassVar[bool] = True

    kind: Literal["rkd"] = "rkd"
    weight: float = 1.0
    ramp_epochs: float = 0.0
    distance_weight: float = 25.0
    angle_weight: float = 50.0

    def __post_init__(self) -> None:
        check_hyperparameters(self.kind, weight=self.weight, ramp_epochs=self.ramp_epochs)
        check_hyperparameters(self.kind, distance_weight=self.distance_weight, angle_weight=self.angle_weight)

    def __call__(
        self,
        student: Outputs,
        teacher: Outputs,
        targets: Float[Tensor, "B L"],
        label_mask: Bool[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, ""]:
        return rkd(
            student.pooled_features(self.kind),
            teacher.pooled_features(self.kind),
            self.distance_weight,
            self.angle_weight,
        )
