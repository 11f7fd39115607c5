"""Embeddings that are stored between batches, against a plain list of the positives of each label."""

import numpy as np
import pytest
import torch
from torch import Tensor

from mlkd.losses import ClassAware
from mlkd.losses.base import LossInputs
from mlkd.models.outputs import Outputs
from mlkd.training.memory_bank import MemoryBank
from tests.helpers import reference

IMAGES, LABELS, SIZE = 5, 4, 3
LOSS = ClassAware(memory=SIZE)


def batch(seed: int, positive: Tensor | None = None) -> LossInputs:
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(IMAGES, LABELS, 6, generator=generator).requires_grad_()
    teacher = torch.randn(IMAGES, LABELS, 7, generator=generator)
    drawn = torch.rand(IMAGES, LABELS, generator=generator) < torch.tensor([0.1, 0.3, 0.5, 0.9])
    logits = torch.zeros(IMAGES, LABELS)
    return LossInputs(
        Outputs(logits, student), Outputs(logits, teacher), (drawn if positive is None else positive).float()
    )


def test_loss_is_that_of_the_batch_with_the_last_positives_of_each_label() -> None:
    bank = MemoryBank(SIZE)
    seen: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in range(LABELS)]
    for seed in range(12):
        inputs = batch(seed)
        student, teacher = inputs.student.label_embeddings(""), inputs.teacher.label_embeddings("")
        value = bank.compute_loss(LOSS, inputs)
        expected = 0.0
        for label in range(LABELS):
            rows = torch.nonzero(inputs.targets[:, label])[:, 0]
            new = [(student[row, label].detach().numpy(), teacher[row, label].numpy()) for row in rows]
            if new:
                group = new + seen[label]
                expected += reference.structure([s for s, _ in group], [t for _, t in group])
            seen[label] = (seen[label] + new)[-SIZE:]
        assert value.item() == pytest.approx(expected / IMAGES, rel=1e-5, abs=1e-7)
        (gradient,) = torch.autograd.grad(value, student)
        assert torch.isfinite(gradient).all()
        assert not gradient[inputs.targets == 0].any()


def test_a_restored_bank_gives_the_same_loss() -> None:
    first, second = MemoryBank(SIZE), MemoryBank(SIZE)
    for seed in range(3):
        first.compute_loss(LOSS, batch(seed))
    second.stored = dict(first.stored)
    assert first.compute_loss(LOSS, batch(9)).item() == second.compute_loss(LOSS, batch(9)).item() > 0
