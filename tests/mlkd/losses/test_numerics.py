"""Every loss stays finite, and close to itself in half precision."""

import pytest
import torch
from torch import Tensor

from mlkd.losses import Loss, Mse
from mlkd.models.outputs import Outputs
from tests.helpers.loss_batches import LOSSES, changed, gradients, name, student, targets, teacher

HALVES = [torch.bfloat16, torch.float16]
ALL = [*LOSSES, Mse(on="scores")]


def assert_finite(loss: Loss, given: Outputs, goal: Outputs, truth: Tensor, label_mask: Tensor | None = None) -> Tensor:
    value = loss(given, goal, truth, label_mask)
    assert torch.isfinite(value)
    assert all(torch.isfinite(gradient).all() for gradient in gradients(value, given))
    return value


def extreme(given: Outputs, sign: float, *, alike: bool) -> Outputs:
    signs = torch.ones(8, 6) if alike else torch.where(targets(7) > 0, 1.0, -1.0)
    return changed(given, lambda values: (300 * sign * signs).to(values), ("logits",))


@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("loss", ALL, ids=name)
def test_finite_at_extreme_logits(loss: Loss, sign: float, alike: bool) -> None:
    given = extreme(student(dtype=torch.float32), sign, alike=alike)
    goal = teacher(dtype=torch.float32)
    for other in (goal, extreme(goal, sign, alike=alike), extreme(goal, -sign, alike=alike)):
        for truth in (targets(), torch.zeros(8, 6), torch.ones(8, 6)):
            assert_finite(loss, given, other, truth.float())


def first_of_all(values: Tensor) -> Tensor:
    return values[:1].expand_as(values)


def nearly_equal(values: Tensor) -> Tensor:
    return values * 1e-21


@pytest.mark.parametrize("pattern", ["none", "one", "all"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("loss", ALL, ids=name)
def test_finite_for_any_pattern_of_positives_and_for_equal_images(loss: Loss, dtype: torch.dtype, pattern: str) -> None:
    truth = torch.full((8, 6), float(pattern == "all"), dtype=dtype)
    if pattern == "one":
        truth[2, 4] = 1.0
    goal = teacher(dtype=dtype)
    for change in (torch.clone, torch.ones_like, torch.zeros_like, first_of_all, nearly_equal):
        given = changed(student(dtype=dtype), change)
        assert_finite(loss, given, goal, truth)
        assert_finite(loss, given, changed(goal, change), truth)


@pytest.mark.parametrize("loss", ALL, ids=name)
def test_a_few_equal_images_leave_the_others_their_gradient(loss: Loss) -> None:
    def first_three_equal(values: Tensor) -> Tensor:
        return torch.cat([values[:1].expand(3, *values.shape[1:]), values[3:]])

    given, truth = changed(student(), first_three_equal), torch.ones(8, 6, dtype=torch.float64)
    truth[:, 0] = 0.0
    assert_finite(loss, given, teacher(), truth)
    found = gradients(loss(given, teacher(), truth), given)
    assert all((gradient[3:] != 0).any() for gradient in found)


@pytest.mark.parametrize("half", HALVES, ids=str)
@pytest.mark.parametrize("under_autocast", [False, True])
@pytest.mark.parametrize("loss", ALL, ids=name)
def test_half_precision_inputs_are_computed_in_float(loss: Loss, under_autocast: bool, half: torch.dtype) -> None:
    given, goal = student(dtype=half), teacher(dtype=half)
    expected = loss(changed(given, Tensor.double), changed(goal, Tensor.double), targets())
    with torch.autocast("cpu", dtype=half, enabled=under_autocast):
        value = assert_finite(loss, given, goal, targets())
        stored = assert_finite(loss, given, changed(goal, Tensor.float), targets())
    torch.testing.assert_close(value.double(), expected, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(stored.double(), expected, rtol=1e-4, atol=1e-7)
