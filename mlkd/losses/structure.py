"""Pairwise-distance structure of groups of vectors, shared by the class-aware and the instance-aware loss."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import smooth_l1_loss


def structure_of_columns(
    student: Float[Tensor, "R C Ds"], teacher: Float[Tensor, "R C Dt"], members: Float[Tensor, "R C"]
) -> Float[Tensor, ""]:
    """Sum over columns of structure(S, T) = (1/n) sum_{j != k} smooth_l1(d^s_jk, d^t_jk) over a column's n members.

    d is the Euclidean distance over its mean in the group (that of the student carries gradient), so neither scale nor
    length of the embeddings matters; groups below two give 0.  Yang et al. 2023, label-wise embedding distillation.
    Only members are gathered (padded to the largest group), and computed in at least float32.
    """
    chosen = members > 0
    columns = torch.nonzero(chosen.sum(0) >= 2)[:, 0]
    if not len(columns):
        return student.sum() * 0.0
    chosen = chosen[:, columns]
    sizes = chosen.sum(0)
    rows = chosen.to(torch.uint8).argsort(dim=0, descending=True, stable=True)[: int(sizes.max())].T  # (G, n)
    inside = torch.arange(rows.shape[1], device=rows.device) < sizes[:, None]  # (G, n)
    pairs = inside[:, :, None] & inside[:, None, :] & ~torch.eye(rows.shape[1], dtype=torch.bool, device=rows.device)
    distances_s = _relative_distances(student[rows, columns[:, None]], pairs)
    with torch.no_grad():
        distances_t = _relative_distances(teacher[rows, columns[:, None]], pairs)
    difference = smooth_l1_loss(distances_s, distances_t.to(distances_s), reduction="none").where(pairs, 0.0)
    return (difference.sum((1, 2)) / sizes).sum()


def _relative_distances(vectors: Float[Tensor, "G n D"], pairs: Bool[Tensor, "G n n"]) -> Float[Tensor, "G n n"]:
    """Euclidean distances over their mean within each group's pairs; 0 where all of a group's vectors are equal."""
    with torch.autocast(vectors.device.type, enabled=False):
        wide = vectors if vectors.dtype == torch.float64 else vectors.float()
        # cdist's gradient at distance 0 is 0; its matrix-product form would lose small distances
        distances = torch.cdist(wide, wide, compute_mode="donot_use_mm_for_euclid_dist").where(pairs, 0.0)
        mean = distances.sum((1, 2), keepdim=True) / pairs.sum((1, 2), keepdim=True)
        return distances / mean.clamp_min(torch.finfo(mean.dtype).tiny ** 0.5)
