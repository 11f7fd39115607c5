"""Unknown decisions are not negatives: losses on the targets ignore them."""

import pytest
import torch

from mlkd.losses import Asymmetric, Bce, Loss, PartialSoftmax
from mlkd.models.outputs import Outputs
from tests.helpers.loss_batches import LOSSES, changed, gradients, label_mask, name, student, targets, teacher

MASKED = [Bce(), Bce(positive_weight=3.0), Asymmetric(), PartialSoftmax()]


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_no_mask_means_all_known(loss: Loss) -> None:
    everything = torch.ones(8, 6, dtype=torch.bool)
    expected = loss(student(), teacher(), targets())
    torch.testing.assert_close(loss(student(), teacher(), targets(), everything), expected, rtol=0, atol=0)


@pytest.mark.parametrize("loss", MASKED, ids=name)
def test_unknown_decisions_change_nothing(loss: Loss) -> None:
    mask = label_mask()
    moved = changed(student(), lambda values: torch.where(mask, values, -values + 5), ("logits",))
    goal = changed(teacher(), lambda values: torch.where(mask, values, 3 - values), ("logits",))
    truth = torch.where(mask, targets(), 1 - targets())
    expected = loss(student(), teacher(), targets(), mask)
    torch.testing.assert_close(loss(moved, goal, truth, mask), expected, rtol=0, atol=0)
    assert abs(loss(moved, goal, truth) - expected) > 1e-3
    assert abs(loss(student(), teacher(), targets() * mask) - expected) > 1e-3  # unknown is not negative


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_nothing_known_is_finite(loss: Loss) -> None:
    given, nothing = student(), torch.zeros(8, 6, dtype=torch.bool)
    value = loss(given, teacher(), torch.zeros(8, 6, dtype=torch.float64), nothing)
    assert torch.isfinite(value)
    assert all(torch.isfinite(gradient).all() for gradient in gradients(value, given))
    if any(isinstance(loss, type(masked)) for masked in MASKED):
        assert value.item() == 0


def test_a_positive_weight_for_each_label() -> None:
    weights = (1.0, 2.0, 0.5, 4.0, 1.5, 3.0)
    given, truth = student(), targets()
    expected = sum(
        Bce(positive_weight=weight)(Outputs(given.logits[:, [at]]), teacher(), truth[:, [at]]).item()
        for at, weight in enumerate(weights)
    )
    assert Bce(positive_weight=weights)(given, teacher(), truth).item() == pytest.approx(expected)
    with pytest.raises(ValueError, match="positive_weight: expected 1 or 6 numbers, got 2"):
        Bce(positive_weight=(1.0, 2.0))(given, teacher(), truth)
    with pytest.raises(ValueError, match="positive_weight: expected a finite number of at least 0, got -1"):
        Bce(positive_weight=(1.0, -1.0))
