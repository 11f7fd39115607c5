"""The structural losses use positives only, of any number and position."""

import numpy as np
import pytest
import torch
from torch import Tensor

from mlkd.losses import ClassAware, InstanceAware
from mlkd.losses.base import positives
from mlkd.models.outputs import Outputs
from tests.helpers import reference
from tests.helpers.loss_batches import label_mask, name, student, targets, teacher

STRUCTURAL = [ClassAware(), InstanceAware()]
PLAIN = {"class_aware": reference.class_aware, "instance_aware": reference.instance_aware}


def embedded(images: int, labels: int, length: int, seed: int) -> Outputs:
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(images, labels, length, generator=generator, dtype=torch.float64)
    return Outputs(torch.zeros(images, labels).double(), embeddings.requires_grad_())


def step(loss: ClassAware | InstanceAware, given: Outputs, goal: Outputs, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Value and the gradient of the student's embeddings."""
    assert given.embeddings is not None
    value = loss(given, goal, truth)
    return value, torch.autograd.grad(value, given.embeddings)[0]


def directly(loss: ClassAware | InstanceAware, given: Outputs, goal: Outputs, truth: Tensor) -> Tensor:
    """The definition, group by group."""
    assert given.embeddings is not None
    assert goal.embeddings is not None
    total = given.embeddings.new_zeros(())
    groups = truth.T if loss.kind == "class_aware" else truth
    for group, chosen in enumerate(groups > 0):
        if chosen.sum() > 1:
            at = (chosen, group) if loss.kind == "class_aware" else (group, chosen)
            d_s, d_t = (torch.pdist(embeddings[at]) for embeddings in (given.embeddings, goal.embeddings.detach()))
            difference = torch.nn.functional.smooth_l1_loss(d_s / d_s.mean(), d_t / d_t.mean(), reduction="sum")
            total = total + 2 * difference / chosen.sum()
    return total / len(truth)


@pytest.mark.parametrize("length", [1, 256, 257, 600])
@pytest.mark.parametrize("loss", STRUCTURAL, ids=name)
def test_uneven_groups_and_any_length_equal_the_definition(loss: ClassAware | InstanceAware, length: int) -> None:
    given, goal = embedded(12, 10, length, 0), embedded(12, 10, 7, 1)
    share = torch.linspace(0, 1, 12)[:, None] * torch.linspace(0, 1, 10)  # from no positives to all of them
    truth = (torch.rand(12, 10, generator=torch.Generator().manual_seed(2)) < share).double()
    truth[:, 9] = truth[11] = 1.0
    value, gradient = step(loss, given, goal, truth)
    expected = directly(loss, given, goal, truth)
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=0)
    assert given.embeddings is not None
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, given.embeddings)[0], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("loss", STRUCTURAL, ids=name)
def test_groups_of_two_give_exactly_0(loss: ClassAware | InstanceAware) -> None:
    truth = torch.zeros(8, 6, dtype=torch.float64)
    truth[0, 0] = truth[0, 3] = truth[5, 0] = 1.0
    equal = Outputs(student().logits, torch.ones(8, 6, 5, dtype=torch.float64, requires_grad=True))
    for given in (student(), equal):
        value, gradient = step(loss, given, teacher(), truth)
        assert value == 0
        assert (gradient == 0).all()


@pytest.mark.parametrize("loss", STRUCTURAL, ids=name)
def test_negatives_are_never_read(loss: ClassAware | InstanceAware) -> None:
    truth, given, goal = targets(), student(), teacher()

    def spoilt(outputs: Outputs) -> Outputs:
        assert outputs.embeddings is not None
        spoilt = outputs.embeddings.detach().where(truth[:, :, None] > 0, torch.nan)
        return Outputs(outputs.logits, spoilt.requires_grad_())

    value, gradient = step(loss, given, goal, truth)
    assert value > 0
    torch.testing.assert_close(step(loss, spoilt(given), spoilt(goal), truth), (value, gradient), rtol=0, atol=0)
    assert (gradient[truth == 0] == 0).all()


@pytest.mark.parametrize("loss", STRUCTURAL, ids=name)
def test_equal_members_of_a_group_equal_the_plain_loops(loss: ClassAware | InstanceAware) -> None:
    given, goal, truth = embedded(6, 6, 3, 0), embedded(6, 6, 4, 1), torch.ones(6, 6, dtype=torch.float64)
    assert given.embeddings is not None
    assert goal.embeddings is not None
    same = given.embeddings.detach().clone()
    same[1], same[:, 1] = same[0], same[:, 0]
    given = Outputs(given.logits, same.requires_grad_())
    value, gradient = step(loss, given, goal, truth)
    expected = PLAIN[loss.kind](same.detach().numpy(), goal.embeddings.detach().numpy(), np.ones((6, 6)))
    assert value.item() == pytest.approx(expected, rel=1e-10)
    assert torch.isfinite(gradient).all()
    assert (gradient[2:, 2:] != 0).any()


@pytest.mark.parametrize("loss", STRUCTURAL, ids=name)
def test_confident_teacher_scores_replace_unknown_targets(loss: ClassAware | InstanceAware) -> None:
    goal, mask = teacher(), label_mask()
    goal = Outputs(2 * goal.logits.detach(), goal.embeddings)
    mask[[1, 4]] = False  # images without any label
    chosen = torch.where(mask, targets(), (goal.logits.sigmoid() >= 0.8).double())
    torch.testing.assert_close(chosen > 0, positives(targets(), mask, goal.logits))
    value = loss(student(), goal, targets() * mask, mask)
    torch.testing.assert_close(value, loss(student(), goal, chosen), rtol=0, atol=0)
    assert abs(value - loss(student(), goal, targets() * mask)) > 1e-3  # an unknown target is no negative


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("loss", STRUCTURAL, ids=name)
def test_autocast_does_not_change_float32(loss: ClassAware | InstanceAware, half: torch.dtype) -> None:
    given, goal, truth = student(dtype=torch.float32), teacher(dtype=torch.float32), targets()
    expected = step(loss, given, goal, truth)
    with torch.autocast("cpu", half):
        torch.testing.assert_close(step(loss, given, goal, truth), expected, rtol=0, atol=0)
