"""Relational knowledge distillation (RKD): distances and angles between the images of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from mlkd.losses.base import BaseLoss, LossInputs, Need, wide

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

_CELLS = 2**21  # cosines held at once: 16 MiB in float64


def rkd(
    student: Float[Tensor, "B Fs"],
    teacher: Float[Tensor, "B Ft"],
    distance_weight: float = 25.0,
    angle_weight: float = 50.0,
) -> Float[Tensor, ""]:
    """Weighted sum of two smooth L1 terms: of relative distances (B^2 pairs), and of cosines of angles (B^3 triples).

    Park et al. 2019.  A distance is divided by the mean of the non-zero distances; the student's mean carries gradient.
    A cosine is 0 where two of the three images coincide.  Computed in float64, which autocast does not touch.
    """

    from torch.nn.functional import smooth_l1_loss

    s, t = student.double(), teacher.detach().double()
    distances_s, distances_t = _distances(s), _distances(t)
    distance = smooth_l1_loss(_relative(distances_s), _relative(distances_t))
    angle = _angle(_products(s), _inverse(distances_s), _products(t), _inverse(distances_t))
    return (distance_weight * distance + angle_weight * angle).to(wide(student))


def _distances(features: Float[Tensor, "B F"]) -> Float[Tensor, "B B"]:
    # this mode gives gradient 0 at distance 0; the matrix-product mode never gives exactly 0
    import torch

    return torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")


def _relative(distances: Float[Tensor, "B B"]) -> Float[Tensor, "B B"]:
    mean = distances.sum() / (distances > 0).sum().clamp_min(1)
    return distances / mean.where(mean > 0, 1.0)


def _inverse(distances: Float[Tensor, "B B"]) -> Float[Tensor, "B B"]:
    import torch

    return distances.where(distances > 0, torch.inf).reciprocal()


def _products(features: Float[Tensor, "B F"]) -> Float[Tensor, "B B"]:
    """Inner products of the features minus their mean, which keeps the most digits."""
    centred = features - features.mean(0)
    return centred @ centred.T


def _angle(*geometry: Float[Tensor, "B B"]) -> Float[Tensor, ""]:
    """Mean over all triples, in chunks of vertices that the backward pass recomputes: no B^3 tensor is ever stored."""

    from torch.utils.checkpoint import checkpoint

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
    from torch.nn.functional import smooth_l1_loss

    cosines_s, cosines_t = _cosines(vertices, products_s, inverse_s), _cosines(vertices, products_t, inverse_t)
    return smooth_l1_loss(cosines_s, cosines_t, reduction="sum")


def _cosines(vertices: slice, products: Float[Tensor, "B B"], inverse: Float[Tensor, "B B"]) -> Float[Tensor, "V B B"]:
    """Cosines of the angles at vertices i between images j and k; inner products save a factor F of work."""
    of_vertex = products[vertices]
    between = products - of_vertex[:, :, None] - of_vertex[:, None, :] + products.diagonal()[vertices, None, None]
    return between * inverse[vertices][:, :, None] * inverse[vertices][:, None, :]


@dataclass(frozen=True, kw_only=True)
class Rkd(BaseLoss):
    """`rkd` between the pooled features of student and teacher; the targets are not used."""

    needs: ClassVar[frozenset[Need]] = frozenset({"teacher", "pooled"})
    compares_images: ClassVar[bool] = True

    kind: Literal["rkd"] = "rkd"
    distance_weight: float = 25.0
    angle_weight: float = 50.0

    def value(self, inputs: LossInputs) -> Float[Tensor, ""]:
        return rkd(
            inputs.student.pooled_features(self.kind),
            inputs.teacher.pooled_features(self.kind),
            self.distance_weight,
            self.angle_weight,
        )
