"""What every loss promises."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import Tensor

from mlkd.losses import Bce, ClassAware, InstanceAware, LabelKL, Loss, Outputs

LOSSES = [kind() for kind in get_args(Loss)]
DISTILLING = [loss for loss in LOSSES if not isinstance(loss, Bce)]
PER_IMAGE = [loss for loss in LOSSES if not isinstance(loss, ClassAware)]


def name(loss: Loss) -> str:
    return loss.kind


def outputs(seed: int, width: int = 5, dtype: torch.dtype = torch.float64, scale: float = 1.0) -> Outputs:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(8, 6, generator=generator, dtype=torch.float64) * scale
    embeddings = torch.randn(8, 6, width, generator=generator, dtype=torch.float64)
    return Outputs(logits.to(dtype).requires_grad_(), embeddings.to(dtype).requires_grad_())


def targets(seed: int = 3) -> Tensor:
    return (torch.rand(8, 6, generator=torch.Generator().manual_seed(seed)) < 0.5).double()


def gradients(value: Tensor, of: Outputs) -> list[Tensor]:
    assert of.embeddings is not None
    found = torch.autograd.grad(value, [of.logits, of.embeddings], allow_unused=True)
    return [g for g in found if g is not None]


@pytest.mark.parametrize("loss", DISTILLING, ids=name)
def test_zero_when_student_equals_teacher(loss: Loss) -> None:
    same = outputs(0)
    assert abs(loss(same, same, targets()).item()) < 1e-12
    assert loss(outputs(1), same, targets()).item() > 1e-3


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_gradient_is_the_derivative(loss: Loss) -> None:
    teacher = outputs(1, width=7)

    def value(logits: Tensor, embeddings: Tensor) -> Tensor:
        return loss(Outputs(logits, embeddings), teacher, targets())

    student = outputs(0)
    assert torch.autograd.gradcheck(value, (student.logits, student.embeddings))


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_no_gradient_reaches_the_teacher(loss: Loss) -> None:
    student, teacher = outputs(0), outputs(1)
    value = loss(student, teacher, targets())
    assert gradients(value, student)
    value = loss(student, teacher, targets())
    assert not gradients(value, teacher)


@pytest.mark.parametrize("extreme", [300.0, -300.0])
@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_finite_at_extreme_logits(loss: Loss, extreme: float) -> None:
    student, teacher = outputs(0, dtype=torch.float32), outputs(1, dtype=torch.float32)
    student = replace(student, logits=torch.full_like(student.logits, extreme, requires_grad=True))
    for other in (teacher, replace(teacher, logits=torch.full_like(teacher.logits, -extreme))):
        value = loss(student, other, targets().float())
        assert torch.isfinite(value)
        assert all(torch.isfinite(g).all() for g in gradients(value, student))


@pytest.mark.parametrize("pattern", ["none", "one", "all"])
@pytest.mark.parametrize("equal", [False, True], ids=["apart", "identical"])
@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_finite_for_any_pattern_of_positives(loss: Loss, pattern: str, equal: bool) -> None:
    student, teacher = outputs(0), outputs(1)
    assert student.embeddings is not None
    truth = torch.full((8, 6), float(pattern == "all"), dtype=torch.float64)
    if pattern == "one":
        truth[2, 4] = 1.0
    if equal:
        student = replace(student, embeddings=torch.ones_like(student.embeddings, requires_grad=True))
    value = loss(student, teacher, truth)
    assert torch.isfinite(value)
    assert all(torch.isfinite(g).all() for g in gradients(value, student))


@pytest.mark.parametrize("loss", PER_IMAGE, ids=name)
def test_repeating_the_batch_changes_nothing(loss: Loss) -> None:
    student, teacher = outputs(0), outputs(1)

    def twice(given: Outputs) -> Outputs:
        assert given.embeddings is not None
        return Outputs(given.logits.repeat(2, 1), given.embeddings.repeat(2, 1, 1))

    once = loss(student, teacher, targets())
    torch.testing.assert_close(loss(twice(student), twice(teacher), targets().repeat(2, 1)), once)


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_order_of_labels_and_images_is_of_no_consequence(loss: Loss) -> None:
    student, teacher = outputs(0), outputs(1)
    images, labels = torch.randperm(8), torch.randperm(6)

    def shuffled(given: Outputs) -> Outputs:
        assert given.embeddings is not None
        return Outputs(given.logits[images][:, labels], given.embeddings[images][:, labels])

    expected = loss(student, teacher, targets())
    got = loss(shuffled(student), shuffled(teacher), targets()[images][:, labels])
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_half_precision_is_close_to_float(loss: Loss) -> None:
    wide = loss(outputs(0), outputs(1), targets())
    narrow = loss(outputs(0, dtype=torch.bfloat16), outputs(1, dtype=torch.bfloat16), targets())
    torch.testing.assert_close(narrow.double(), wide, rtol=0.02, atol=0.02)  # bfloat16 keeps 8 bits


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_gradient_mode_is_left_alone(loss: Loss) -> None:
    with torch.no_grad():
        loss(outputs(0), outputs(1), targets())
        assert not torch.is_grad_enabled()
    loss(outputs(0), outputs(1), targets())
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("kind", get_args(Loss))
@pytest.mark.parametrize("field", ["weight", "ramp_epochs"])
def test_hyperparameters_are_checked(kind: type[Loss], field: str) -> None:
    with pytest.raises(ValueError, match=f"{field}: expected .* got -1"):
        kind(**{field: -1})


@pytest.mark.parametrize("loss", [ClassAware(), InstanceAware()], ids=name)
def test_structure_needs_embeddings(loss: Loss) -> None:
    with pytest.raises(ValueError, match="expected label-wise embeddings, got none"):
        loss(Outputs(outputs(0).logits), outputs(1), targets())


@pytest.mark.parametrize("loss", [ClassAware(), InstanceAware()], ids=name)
def test_structure_ignores_scale_and_shift_and_groups_of_two(loss: Loss) -> None:
    student, teacher = outputs(0), outputs(1)
    assert student.embeddings is not None
    moved = replace(student, embeddings=student.embeddings * 7 + 3)
    torch.testing.assert_close(loss(moved, teacher, targets()), loss(student, teacher, targets()))
    pairs = torch.zeros(8, 6, dtype=torch.float64)
    pairs[0, 0] = pairs[0, 3] = pairs[5, 0] = 1.0
    assert abs(loss(student, teacher, pairs).item()) < 1e-12


def test_temperature_must_be_positive() -> None:
    with pytest.raises(ValueError, match="temperature: expected more than 0, got 0"):
        LabelKL(temperature=0)
