"""The losses of Yang et al. 2023 as direct loops over labels and images, to compare the batched ones with."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, kl_div, smooth_l1_loss

from mlkd.models.outputs import Outputs


def total(student: Outputs, teacher: Outputs, targets: Tensor) -> Tensor:
    """BCE + 10 MLD + 100 CD + 1000 ID, with the published mixture of sums and means, per image."""
    assert student.embeddings is not None
    assert teacher.embeddings is not None
    bce = binary_cross_entropy_with_logits(student.logits, targets, reduction="sum")
    structure = structural(student.embeddings, teacher.embeddings, targets.bool(), labels=100, images=1000)
    return (bce + 10 * label_kl(student.logits, teacher.logits)) / len(targets) + structure


def label_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """The divergence of each label's two probabilities, summed over labels, mean over images."""
    student, teacher = (logits.sigmoid().clamp(1e-6, 1 - 1e-6) for logits in (student, teacher))
    losses = [
        kl_div(student.log(), teacher, reduction="sum"),
        kl_div((1 - student).log(), 1 - teacher, reduction="sum"),
    ]
    return sum(losses, student.new_zeros(())) / len(student)


def structural(student: Tensor, teacher: Tensor, positive: Tensor, *, labels: float = 1, images: float = 1) -> Tensor:
    """CD with weight `labels` + ID with weight `images`, of embeddings (B, L, D), divided by B."""
    value = student.new_zeros(())
    for label in range(positive.shape[1]):
        mask = positive[:, label]
        if mask.sum() > 1:
            value = value + labels * structure(student[mask, label], teacher[mask, label])
    for image in range(len(positive)):
        mask = positive[image]
        if mask.sum() > 1:
            value = value + images * structure(student[image, mask], teacher[image, mask])
    return value / len(positive)


def structure(student: Tensor, teacher: Tensor) -> Tensor:
    """Difference between the relative distances within two sets of n vectors, divided by n."""
    distances_s, distances_t = torch.cdist(student, student), torch.cdist(teacher, teacher)
    pairs = len(student) * (len(student) - 1)
    relative_s, relative_t = distances_s * pairs / distances_s.sum(), distances_t * pairs / distances_t.sum()
    return smooth_l1_loss(relative_s, relative_t, reduction="sum") / len(student)
