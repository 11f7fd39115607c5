"""Pairwise-distance structure of groups of vectors, used by the class-aware and the instance-aware loss."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from mlkd.losses.base import wide

_EQUAL = 1e-30  # squared distance of vectors that count as equal: the gradient divides by it, and would overflow
_SLICE = 256  # embedding components compared at a time


def columns_of_three(members: Bool[Tensor, "R C"]) -> tuple[Int[Tensor, "P"], Int[Tensor, "P"], Int[Tensor, "C"]]:
    """Rows and columns of the P members of columns with at least three members, and the size of each column.

    Smaller columns have size 0: a single distance divided by its own mean is 1, so two vectors have no structure.
    """
    members = members & (members.sum(0) > 2)
    column, row = torch.nonzero(members.T, as_tuple=True)
    return row, column, members.sum(0)


def structure(
    student: Float[Tensor, "P Ds"], teacher: Float[Tensor, "P Dt"], sizes: Int[Tensor, "G"]
) -> Float[Tensor, ""]:
    """Sum over groups of (1/n) sum_{j != k} smooth_l1(d^s_jk, d^t_jk) over the n vectors of a group.

    Yang et al. 2023, label-wise embedding distillation.  d is the Euclidean distance divided by its mean in the group,
    so the scale of the vectors does not matter; the student's mean carries gradient.  Computed in at least float32.
    Each pair is computed once and nothing is padded, so uneven groups cost no more than even ones.

    Args:
        student: Vectors of all groups, one group after the other.
        teacher: Vectors of the same members; no gradient reaches them.
        sizes: Number of vectors of each group, 0 or at least 3.
    """
    group, left, right = _pairs(sizes, len(student))
    distances_s = _relative_distances(student, left, right, group, sizes)
    distances_t = _relative_distances(teacher.detach(), left, right, group, sizes).to(distances_s)
    difference = smooth_l1_loss(distances_s, distances_t, reduction="none")
    return (2 * difference / sizes[group]).sum()  # (j, k) and (k, j)


def _pairs(sizes: Int[Tensor, "G"], vectors: int) -> tuple[Int[Tensor, "M"], Int[Tensor, "M"], Int[Tensor, "M"]]:
    """For each of the M pairs within groups: the group, the first and the second vector."""
    group = torch.repeat_interleave(sizes, output_size=vectors)
    vector = torch.arange(vectors, device=sizes.device)
    following = sizes.cumsum(0)[group] - 1 - vector  # in the same group
    left = torch.repeat_interleave(following)
    nth = torch.arange(len(left), device=sizes.device) - (following.cumsum(0) - following)[left]
    return group[left], left, left + 1 + nth


def _relative_distances(
    vectors: Float[Tensor, "P D"],
    left: Int[Tensor, "M"],
    right: Int[Tensor, "M"],
    group: Int[Tensor, "M"],
    sizes: Int[Tensor, "G"],
) -> Float[Tensor, "M"]:
    """Euclidean distances divided by their mean in the group; 0 where all vectors of a group are equal."""
    distances: Tensor = _Distances.apply(wide(vectors), left, right)
    pairs = (sizes * (sizes - 1) // 2).clamp_min(1)
    mean = distances.new_zeros(len(sizes)).index_add(0, group, distances) / pairs
    return distances / mean.clamp_min(_EQUAL**0.5)[group]


class _Distances(torch.autograd.Function):
    """Euclidean distances of pairs of vectors, with gradient 0 where they are equal.

    Both passes take `_SLICE` components at a time: a label of most images in a large batch has many pairs, and their
    full differences would need more memory than the embeddings.  torch.cdist is several times slower on small groups.
    """

    @staticmethod
    def forward(
        ctx: Any, vectors: Float[Tensor, "P D"], left: Int[Tensor, "M"], right: Int[Tensor, "M"]
    ) -> Float[Tensor, "M"]:
        squares = vectors.new_zeros(len(left))
        for part in torch.split(vectors, _SLICE, 1):
            squares = squares + _differences(part, left, right).square().sum(1)
        distances = squares.sqrt().where(squares > _EQUAL, 0.0)
        ctx.save_for_backward(vectors, left, right, distances)
        return distances

    @staticmethod
    def backward(ctx: Any, gradient: Float[Tensor, "M"]) -> tuple[Float[Tensor, "P D"], None, None]:
        vectors, left, right, distances = ctx.saved_tensors
        scale = (gradient / distances).where(distances > 0, 0.0)[:, None]
        parts = []
        for part in torch.split(vectors, _SLICE, 1):
            pull = _differences(part, left, right) * scale
            parts.append(torch.zeros_like(part).index_add(0, left, pull).index_add(0, right, pull, alpha=-1))
        return torch.cat(parts, 1), None, None


def _differences(part: Float[Tensor, "P d"], left: Int[Tensor, "M"], right: Int[Tensor, "M"]) -> Float[Tensor, "M d"]:
    part = part.contiguous()  # copying contiguous rows is faster
    return part.index_select(0, left) - part.index_select(0, right)
