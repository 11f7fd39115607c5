"""The contract of every loss."""

from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import Tensor

from mlkd.losses import Asymmetric, Bce, ClassAware, InstanceAware, Kd, LabelKL, Loss, Mse
from mlkd.models.outputs import Outputs
from tests.helpers.loss_batches import LOSSES, changed, gradients, name, read_by, student, targets, teacher, with_read

DISTILLING = [*(loss for loss in LOSSES if "teacher" in loss.needs), Mse(on="scores")]
# focal weights carry no gradient, so only without them is asymmetric's gradient its derivative
DIFFERENTIABLE = [
    *(loss for loss in LOSSES if not isinstance(loss, Asymmetric)),
    Asymmetric(gamma_negative=0, gamma_positive=0),
    Bce(positive_weight=3.0),
    Mse(on="scores"),
]


@pytest.mark.parametrize("loss", DISTILLING, ids=name)
def test_zero_when_student_equals_teacher(loss: Loss) -> None:
    same = student()
    assert abs(loss.weight * loss(same, same, targets()).item()) < 1e-12
    assert loss.weight * loss(student(5), same, targets()).item() > 1e-3


@pytest.mark.parametrize("loss", DIFFERENTIABLE, ids=name)
def test_gradient_is_the_derivative(loss: Loss) -> None:
    given = student()

    def value(*values: Tensor) -> Tensor:
        return loss(with_read(loss, given, values), teacher(), targets())

    assert torch.autograd.gradcheck(value, read_by(loss, given))


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_no_gradient_reaches_the_teacher(loss: Loss) -> None:
    assert gradients(loss(given := student(), teacher(), targets()), given)
    assert not gradients(loss(student(), goal := teacher(), targets()), goal)


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_needs_names_every_output_that_a_loss_reads(loss: Loss) -> None:
    kept = {part: getattr(student(), part) for part in loss.needs - {"teacher"}}
    goal = {part: getattr(teacher(), part) for part in loss.needs - {"teacher"}}
    logits = teacher().logits if "teacher" in loss.needs else torch.full((8, 6), torch.nan)
    bare = loss(Outputs(student().logits, **kept), Outputs(logits, **goal), targets())
    torch.testing.assert_close(bare, loss(student(), teacher(), targets()), rtol=0, atol=0)


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss.needs - {"teacher"}], ids=name)
def test_missing_outputs_are_refused(loss: Loss) -> None:
    with pytest.raises(ValueError, match=f"loss {loss.kind}: expected .*, got none; "):
        loss(Outputs(student().logits), teacher(), targets())
    with pytest.raises(ValueError, match=f"loss {loss.kind}: expected .*, got none; "):
        loss(student(), Outputs(teacher().logits), targets())


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_compares_images_exactly_when_it_is_no_mean_of_single_images(loss: Loss) -> None:
    def alone(given: Outputs, at: int) -> Outputs:
        return changed(given, lambda values: values[at : at + 1])

    whole = loss(student(), teacher(), targets())
    single = [loss(alone(student(), at), alone(teacher(), at), targets()[at : at + 1]) for at in range(8)]
    assert torch.isclose(torch.stack(single).mean(), whole) == (not loss.compares_images)


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_the_order_of_labels_and_images_does_not_matter(loss: Loss) -> None:
    generator = torch.Generator().manual_seed(4)
    images, labels = torch.randperm(8, generator=generator), torch.randperm(6, generator=generator)

    def shuffled(given: Outputs) -> Outputs:
        moved = changed(given, lambda values: values[images])
        return changed(moved, lambda values: values[:, labels], ("logits", "embeddings", "label_maps"))

    expected = loss(student(), teacher(), targets())
    got = loss(shuffled(student()), shuffled(teacher()), targets()[images][:, labels])
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_the_gradient_mode_is_not_changed(loss: Loss) -> None:
    with torch.no_grad():
        assert not loss(student(), teacher(), targets()).requires_grad
        assert not torch.is_grad_enabled()
    loss(student(), teacher(), targets())
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("kind", get_args(Loss))
def test_hyperparameters_are_checked(kind: type[Loss]) -> None:
    numbers = [field for field, value in vars(kind()).items() if isinstance(value, float)]
    assert {"weight", "ramp_epochs"} <= set(numbers)
    for field in numbers:
        for wrong in (-1, float("inf"), float("nan")):
            with pytest.raises(ValueError, match=rf"loss {kind().kind}: {field}: expected .* got {wrong}"):
                kind(**{field: wrong})


@pytest.mark.parametrize("kind", [LabelKL, Kd])
def test_temperature_must_be_positive(kind: type[LabelKL | Kd]) -> None:
    with pytest.raises(ValueError, match="temperature: expected more than 0, got 0"):
        kind(temperature=0)


@pytest.mark.parametrize("loss", [ClassAware(), InstanceAware()], ids=name)
def test_structure_ignores_scale_and_shift(loss: Loss) -> None:
    moved = changed(student(), lambda values: values * 7 + 3, ("embeddings",))
    torch.testing.assert_close(loss(moved, teacher(), targets()), loss(student(), teacher(), targets()))


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if "pooled" in loss.needs], ids=name)
def test_relations_ignore_rotation(loss: Loss) -> None:
    given = student()
    turn, _ = torch.linalg.qr(torch.randn(7, 7, dtype=torch.float64))
    assert given.pooled is not None
    turned = replace(given, pooled=given.pooled @ turn)
    torch.testing.assert_close(loss(turned, teacher(), targets()), loss(given, teacher(), targets()))
