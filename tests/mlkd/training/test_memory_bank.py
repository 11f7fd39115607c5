"""Embeddings that are kept between batches, against a plain list of what each label has seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mlkd.losses.class_aware import class_aware
from mlkd.training.memory_bank import Recent
from tests.helpers import reference

LABELS, SIZE = 4, 3


def batch(seed: int, images: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(images, LABELS, 6, generator=generator).requires_grad_()
    teacher = torch.randn(images, LABELS, 7, generator=generator)
    positive = torch.rand(images, LABELS, generator=generator) < torch.tensor([0.1, 0.3, 0.5, 0.9])
    return student, teacher, positive


def test_each_label_has_its_last_positives_for_company() -> None:
    recent = Recent(SIZE)
    seen: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in range(LABELS)]
    alone = 0.0
    for seed in range(12):
        student, teacher, positive = batch(seed)
        value = recent.class_aware(student, teacher, positive)
        expected = 0.0
        for label in range(LABELS):
            here = [
                (student[i, label].detach().numpy(), teacher[i, label].numpy()) for i in range(5) if positive[i, label]
            ]
            if here:
                group = here + seen[label]
                expected += reference.structure([s for s, _ in group], [t for _, t in group])
            seen[label] = (seen[label] + here)[-SIZE:]
        assert value.item() == pytest.approx(expected / 5, rel=1e-5, abs=1e-7)
        alone += class_aware(student, teacher, positive).item()
        gradients = torch.autograd.grad(value, student, allow_unused=True)[0]
        assert torch.isfinite(gradients).all()
        assert not gradients[~positive].any()
    assert alone > 0


def test_two_positives_get_a_signal_from_what_is_kept() -> None:
    student, teacher, _ = batch(0)
    two = torch.zeros(5, LABELS, dtype=torch.bool)
    two[:2, 1] = True
    recent = Recent(SIZE)
    assert recent.class_aware(student, teacher, two).item() == 0.0
    value = recent.class_aware(*batch(1)[:2], two)
    assert value.item() > 0


def test_what_is_saved_is_taken_up() -> None:
    first, second = Recent(SIZE), Recent(SIZE)
    for seed in range(3):
        first.class_aware(*batch(seed))
    second.restore(first.tensors(), torch.device("cpu"))
    assert first.class_aware(*batch(9)).item() == second.class_aware(*batch(9)).item() > 0
