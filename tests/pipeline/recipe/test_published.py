"""The published pairs of teacher and student: recipes load, both models build and learn, splits are disjoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mlkd.data.preparation import prepare
from mlkd.data.prepared import SPLITS, Split, read_split
from mlkd.models.config import Model
from mlkd.models.weights import RandomWeights
from mlkd.training import optim
from mlkd.training.config import Training
from pipeline.recipe.find import RECIPES
from pipeline.recipe.schema import Trained, load_recipe
from tests.helpers import layouts
from tests.helpers.loss_batches import L2D

NAMES = sorted(file.stem for file in (RECIPES / "published").glob("*_*.yaml"))
QUICK = ("coco_swin_t_mbv2",)  # a transformer and a convolutional model
LEARNING = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
PX = 32


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The miniature of every data set, prepared."""
    folders = {}
    for kind, name in (("coco", "coco_r101_r34"), ("voc", "voc_r50_r18"), ("nus", "nus_r101_r34")):
        root = tmp_path_factory.mktemp(kind)
        write = {"coco": layouts.coco, "voc": layouts.voc, "nus": layouts.nuswide}[kind]
        write(root)
        folders[kind] = root / "prepared"
        prepare(load_recipe(name, root).data, folders[kind], [PX])
    return folders


def small(trained: Trained) -> Model:
    return replace(trained.model, image_px=PX, weights=RandomWeights())


@pytest.mark.parametrize("name", NAMES)
def test_recipe_is_the_published_one(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.teacher is not None
    assert recipe.student.training.losses == L2D
    assert recipe.baseline == replace(recipe.student.training, losses=recipe.baseline.losses)
    assert not recipe.baseline.needs_teacher
    assert recipe.teacher.training.last_epoch == 30
    assert recipe.student.training.last_epoch == 80
    for trained in (recipe.teacher, recipe.student):
        training = trained.training
        assert (training.optimiser, training.weight_decay, training.batch_size) == ("adam", 1e-4 / 64, 64)
        assert trained.model.image_px == 224


@pytest.mark.parametrize("kind", ["coco", "voc", "nus"])
def test_splits_are_disjoint(prepared: Mapping[str, Path], kind: str) -> None:
    splits = [read_split(prepared[kind], split) for split in SPLITS]
    for what in ("names", "hashes", "files"):
        values = [value for split in splits for value in getattr(split, what)]
        assert len(set(values)) == len(values) == 21, what


@pytest.mark.parametrize("name", LEARNING)
def test_two_steps_change_both_models(prepared: Mapping[str, Path], name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.teacher is not None
    split = read_split(prepared[name.split("_")[0]], "train")
    torch.manual_seed(0)
    teacher = small(recipe.teacher).build(len(split.labels))
    student = small(recipe.student).build(len(split.labels))
    for model, training, other in (
        (teacher, recipe.teacher.training, None),
        (student, recipe.student.training, teacher.eval()),
    ):
        before = {key: value.clone() for key, value in model.named_parameters() if value.requires_grad}
        losses = two_steps(model.train(), training, other, split)
        assert all(np.isfinite(loss) for loss in losses)
        after = dict(model.named_parameters())
        changed = [key for key, value in before.items() if not torch.equal(value, after[key])]
        assert len(changed) > 0.9 * len(before), sorted(set(before) - set(changed))


def two_steps(model: nn.Module, training: Training, teacher: nn.Module | None, split: Split) -> list[float]:
    adam = optim.optimiser(model, nn.ModuleDict(), training)  # type: ignore[arg-type]
    images = torch.from_numpy(np.array(split.pixels(PX)[:8]))
    targets: Tensor = torch.from_numpy(split.targets[:8].astype(np.float32))
    with torch.no_grad():
        teacher_outputs = teacher(images) if teacher else None
    values = []
    for _ in range(2):
        outputs = model(images)
        value = sum(loss.weight * loss(outputs, teacher_outputs or outputs, targets) for loss in training.losses)
        assert isinstance(value, Tensor)
        value.backward()
        adam.step()
        adam.zero_grad()
        values.append(float(value.detach()))
    return values
