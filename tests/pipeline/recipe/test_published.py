"""The pairs of nets that the literature compares on: recipes load, both nets build and learn, splits are apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mlkd.data import SPLITS, Split, prepare, read_split
from mlkd.losses import presets
from mlkd.models.network import Model
from mlkd.models.weights import RandomWeights
from mlkd.training import optim
from mlkd.training.config import Training
from pipeline.recipe.find import RECIPES
from pipeline.recipe.schema import Recipe, Trained, load_recipe
from tests.helpers import layouts

NAMES = sorted(file.stem for file in (RECIPES / "published").glob("*_*.yaml"))
QUICK = ("coco_r101_r34", "coco_swin_s_swin_t", "coco_swin_t_mbv2", "voc_r50_r18", "nus_repvgg_a2_a0")
LEARNING = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
PX = 32


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The miniature of every data set, prepared."""
    made = {}
    for kind, name in (("coco", "coco_r101_r34"), ("voc", "voc_r50_r18"), ("nus", "nus_r101_r34")):
        root = tmp_path_factory.mktemp(kind)
        write = {"coco": layouts.coco, "voc": layouts.voc, "nus": layouts.nuswide}[kind]
        write(root)
        made[kind] = root / "prepared"
        prepare(load_recipe(name, root).data, made[kind], [PX])
    return made


def model(recipe: Recipe, net: Trained) -> Model:
    return replace(net.model, image_px=PX, weights=RandomWeights())


@pytest.mark.parametrize("name", NAMES)
def test_recipe_is_the_published_one(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.teacher is not None
    assert recipe.student.training.losses == presets.L2D
    assert recipe.baseline == replace(recipe.student.training, losses=recipe.baseline.losses)
    assert not recipe.baseline.needs_teacher
    assert recipe.teacher.training.last_epoch == 30
    assert recipe.student.training.last_epoch == 80
    for net in (recipe.teacher, recipe.student):
        assert net.training.optimiser == "adam"
        assert net.training.weight_decay == 1e-4 / 64
        assert net.training.batch_size == 64
        assert net.model.image_px == 224


@pytest.mark.parametrize("kind", ["coco", "voc", "nus"])
def test_splits_are_disjoint(prepared: Mapping[str, Path], kind: str) -> None:
    splits = [read_split(prepared[kind], split) for split in SPLITS]
    for what in ("names", "hashes", "files"):
        found = [one for split in splits for one in getattr(split, what)]
        assert len(set(found)) == len(found) == 21, what


@pytest.mark.parametrize("name", LEARNING)
def test_two_steps_move_both_nets(prepared: Mapping[str, Path], name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.teacher is not None
    split = read_split(prepared[name.split("_")[0]], "train")
    torch.manual_seed(0)
    teacher = model(recipe, recipe.teacher).build(len(split.labels))
    student = model(recipe, recipe.student).build(len(split.labels))
    for net, training, other in (
        (teacher, recipe.teacher.training, None),
        (student, recipe.student.training, teacher.eval()),
    ):
        before = {key: value.clone() for key, value in net.named_parameters() if value.requires_grad}
        losses = two_steps(net.train(), training, other, split)
        assert all(np.isfinite(loss) for loss in losses)
        after = dict(net.named_parameters())
        moved = [key for key, value in before.items() if not torch.equal(value, after[key])]
        assert len(moved) > 0.9 * len(before), sorted(set(before) - set(moved))


def two_steps(net: nn.Module, training: Training, teacher: nn.Module | None, split: Split) -> list[float]:
    adam = optim.optimiser(net, nn.ModuleDict(), training)  # type: ignore[arg-type]
    images = torch.from_numpy(np.array(split.pixels(PX)[:8]))
    targets: Tensor = torch.from_numpy(split.targets[:8].astype(np.float32))
    with torch.no_grad():
        taught = teacher(images) if teacher else None
    values = []
    for _ in range(2):
        outputs = net(images)
        value = sum(loss.weight * loss(outputs, taught or outputs, targets) for loss in training.losses)
        assert isinstance(value, Tensor)
        value.backward()
        adam.step()
        adam.zero_grad()
        values.append(float(value.detach()))
    return values
