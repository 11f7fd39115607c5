"""What is trained as one module: which stages a loss on stage maps sees."""

from __future__ import annotations

import pytest
import torch

from mlkd.losses import Bce, Loss, ReviewKD
from mlkd.models.heads import Pooled
from mlkd.models.network import Model, TaggerNet
from mlkd.models.outputs import Outputs
from mlkd.training import optim
from mlkd.training.config import Training
from mlkd.training.distillation_module import Learner

NET = Model(backbone="efficientnet_lite0", image_px=32, head=Pooled())
TEACHER = Model(backbone="mobilenetv3_small_050", image_px=48, head=Pooled())


@pytest.fixture(scope="module")
def teacher() -> TaggerNet:
    return TEACHER.build(3).eval()


def learner(teacher: TaggerNet, frozen: int, *losses: Loss) -> Learner:
    tagger = NET.build(3)
    optim.freeze(tagger, frozen)
    return Learner(tagger, Training(epochs=1, learning_rate=1e-3, losses=losses), teacher)


@pytest.mark.parametrize(("frozen", "stages"), [(0, 4), (1, 4), (3, 3), (4, 2), (6, 1)])
def test_frozen_stages_are_left_out_and_the_deepest_are_compared(teacher: TaggerNet, frozen: int, stages: int) -> None:
    net, loss = learner(teacher, frozen, Bce(), ReviewKD()), ReviewKD()
    given = net(torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8))
    with torch.no_grad():
        goals = teacher(torch.randint(0, 256, (2, 48, 48, 3), dtype=torch.uint8), features=True)
    assert [one.shape for one in given.features] == [one.shape for one in goals.features[-stages:]]
    loss(given, Outputs(goals.logits, features=goals.features), torch.zeros(2, 3)).backward()
    blocks = [block for block in net.tagger.backbone.blocks if block[0].bn1.weight.requires_grad]
    assert len(blocks) == 8 - max(frozen, 1)
    assert all(any((p.grad != 0).any() for p in block.parameters()) for block in blocks[:-1])
    assert all((p.grad != 0).any() for p in net.adapters.parameters())


def test_a_student_in_which_nothing_can_learn_from_maps_is_told(teacher: TaggerNet) -> None:
    with pytest.raises(
        ValueError, match=r"a student with a stage that learns .*, got \(\) and .*; lower frozen_groups"
    ):
        learner(teacher, 99, ReviewKD())


def test_no_adapter_without_a_loss_that_counts(teacher: TaggerNet) -> None:
    assert not learner(teacher, 0, Bce(), ReviewKD(weight=0)).adapters
