"""The stored outputs follow what the student compares."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from mlkd.core.progress import silent
from mlkd.data import Folder, Shards
from mlkd.losses import Bce, LabelKL
from pipeline.declarations import distill
from pipeline.recipe.schema import Recipe, load_recipe
from pipeline.runner.identity import plain
from pipeline.runner.stage import Context
from pipeline.stages import teacher_outputs


def test_another_number_of_frozen_stages_needs_other_stage_maps() -> None:
    recipe = load_recipe("scenes")
    assert config(recipe) == config(load_recipe("scenes"))
    training = dataclasses.replace(recipe.student.training, frozen_groups=0)
    other = dataclasses.replace(recipe, student=dataclasses.replace(recipe.student, training=training))
    assert config(other) != config(recipe)


def config(recipe: Recipe) -> object:
    return plain(distill.teacher_outputs(recipe).config)


@pytest.mark.parametrize(
    ("data", "share"), [(Shards(root=Path("shards")), (1, 4)), (Folder(root=Path("mine")), (0, 1))]
)
def test_only_images_in_shards_are_shared(
    data: Shards | Folder, share: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(teacher_outputs, "record", lambda *_, **options: calls.append(options))
    monkeypatch.setattr(teacher_outputs, "features_folder", lambda _: tmp_path)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    recipe = dataclasses.replace(load_recipe("scenes"), data=data)
    training = dataclasses.replace(recipe.student.training, losses=(Bce(), LabelKL()))
    recipe = dataclasses.replace(recipe, student=dataclasses.replace(recipe.student, training=training))
    stage = distill.teacher_outputs(recipe)
    assert stage.distributed is isinstance(data, Shards)
    stage.run(Context(tmp_path, {"data": tmp_path, "teacher": tmp_path}, silent))
    assert (calls[0]["rank"], calls[0]["ranks"]) == share
