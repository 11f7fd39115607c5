"""Which stage maps the trained module adapts for a loss."""

from dataclasses import replace

import pytest
import torch

from mlkd.losses import Bce, LabelMapKL, Loss, PcaMaps, ReviewKD
from mlkd.models import frozen
from mlkd.models.config import Model
from mlkd.models.heads import Pooled
from mlkd.models.network import TaggerNet
from mlkd.models.outputs import Outputs
from mlkd.training.config import Training
from mlkd.training.distillation_module import DistillationModule

STUDENT = Model(backbone="efficientnet_lite0", image_px=32, head=Pooled())
TEACHER = Model(backbone="mobilenetv3_small_050", image_px=48, head=Pooled())


@pytest.fixture(scope="module")
def teacher() -> TaggerNet:
    return TEACHER.build(3).eval()


def module(teacher: TaggerNet, groups: int, *losses: Loss) -> DistillationModule:
    tagger = STUDENT.build(3)
    frozen.freeze(tagger, groups)
    return DistillationModule(tagger, Training(epochs=1, learning_rate=1e-3, losses=losses), teacher.stage_shapes())


@pytest.mark.parametrize(("groups", "stages"), [(0, 4), (1, 4), (3, 3), (4, 2), (6, 1)])
def test_frozen_stages_are_left_out_and_the_deepest_are_compared(teacher: TaggerNet, groups: int, stages: int) -> None:
    student, loss = module(teacher, groups, Bce(), ReviewKD()), ReviewKD()
    outputs = student(torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8))
    with torch.no_grad():
        goals = teacher(torch.randint(0, 256, (2, 48, 48, 3), dtype=torch.uint8), features=True)
    assert [stage.shape for stage in outputs.features] == [stage.shape for stage in goals.features[-stages:]]
    loss(outputs, Outputs(goals.logits, features=goals.features), torch.zeros(2, 3)).backward()
    blocks = [block for block in student.tagger.backbone.blocks if block[0].bn1.weight.requires_grad]
    assert len(blocks) == 8 - max(groups, 1)
    assert all(any((p.grad != 0).any() for p in block.parameters()) for block in blocks[:-1])
    assert all((p.grad != 0).any() for p in student.adapters.parameters())


def test_a_student_without_a_trainable_stage_is_refused(teacher: TaggerNet) -> None:
    with pytest.raises(ValueError, match=r"a student with a trainable stage .*, got \(\) and .*; lower frozen_groups"):
        module(teacher, 99, ReviewKD())
    with pytest.raises(ValueError, match="loss pca_maps: expected a student with a trained stage, got none; lower"):
        module(teacher, 99, PcaMaps())


def test_a_truncated_student_is_compared_from_its_deepest_map_on(teacher: TaggerNet) -> None:
    tagger = replace(STUDENT, stages=3).build(3)
    shapes, goals = tagger.stage_shapes(), teacher.stage_shapes()
    assert [side for _, side, _ in shapes] == [16, 8, 4]
    student = DistillationModule(tagger, Training(epochs=1, learning_rate=1e-3, losses=(ReviewKD(),)), goals)
    outputs = student(torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8))
    assert [tuple(stage.shape[1:]) for stage in outputs.features] == list(goals[-3:])


@pytest.mark.parametrize("losses", [(Bce(),), (Bce(), LabelMapKL())], ids=["bce", "label_map_kl"])
def test_label_maps_are_computed_only_for_a_loss_on_them(teacher: TaggerNet, losses: tuple[Loss, ...]) -> None:
    outputs = module(teacher, 0, *losses)(torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8))
    assert (outputs.label_maps is not None) == (len(losses) == 2)


def test_the_last_stage_map_goes_through_its_adapter(teacher: TaggerNet) -> None:
    student = module(teacher, 0, Bce(), PcaMaps(channels=5))
    outputs = student(torch.randint(0, 256, (8, 32, 32, 3), dtype=torch.uint8))
    assert outputs.last_map.shape == (8, 5, 1, 1)
    (outputs.last_map * torch.randn(8, 5, 1, 1)).sum().backward()
    assert all((parameter.grad != 0).any() for parameter in student.adapters.parameters())
    assert student.tagger.backbone.blocks[-1][0].bn1.weight.grad is not None


def test_a_loss_without_weight_has_no_adapter(teacher: TaggerNet) -> None:
    assert not module(teacher, 0, Bce(), ReviewKD(weight=0)).adapters
