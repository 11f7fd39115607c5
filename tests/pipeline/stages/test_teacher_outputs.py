"""The stored outputs follow what the student compares."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from mlkd.core.progress import silent
from mlkd.data import Folder, Shards
from mlkd.losses import Bce, LabelKL, LabelMapKL, PcaMaps
from mlkd.models.heads import Pooled
from pipeline.declarations import distill
from pipeline.recipe.reader import build
from pipeline.recipe.schema import Recipe, load_recipe
from pipeline.recipe.search import Search
from pipeline.runner.identity import plain
from pipeline.runner.stage import Context
from pipeline.stages import teacher_outputs


def test_another_number_of_frozen_stages_needs_other_stage_maps() -> None:
    recipe = load_recipe("scenes")
    assert config(recipe) == config(load_recipe("scenes"))
    training = dataclasses.replace(recipe.student.training, frozen_groups=0)
    other = dataclasses.replace(recipe, student=dataclasses.replace(recipe.student, training=training))
    assert config(other) != config(recipe)


def test_maps_are_recorded_only_for_a_loss_on_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other recipes keep the identity that their outputs had before."""
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(teacher_outputs, "record", lambda *_, **options: calls.append(options))
    monkeypatch.setattr(teacher_outputs, "features_folder", lambda _: tmp_path)
    recipe = load_recipe("scenes")
    training = dataclasses.replace(recipe.student.training, losses=(Bce(), LabelMapKL(), PcaMaps(channels=7)))
    other = dataclasses.replace(recipe, student=dataclasses.replace(recipe.student, training=training))
    for one in (recipe, other):
        distill.teacher_outputs(one).run(Context(tmp_path, {"data": tmp_path, "teacher": tmp_path}, silent))
    assert [(call["label_maps"], call["components"]) for call in calls] == [(False, 0), (True, 7)]
    assert "label_maps" not in str(config(recipe))
    assert "components" not in str(config(recipe))
    assert config(other) != config(recipe)


def test_every_finalist_of_a_search_is_taught_by_the_outputs_of_the_search() -> None:
    """Any number of stages that the grid has needs no other outputs, nor does another head or image size."""
    recipe = load_recipe("scenes")
    grid = build(Search, {"max_mb": 9, "students": {"stages": [3, 4, None], "image_px": [64, 80]}}, "grid", "search")
    searching = dataclasses.replace(recipe, search=grid)
    for model in (
        dataclasses.replace(recipe.student.model, stages=3, image_px=64),
        dataclasses.replace(recipe.student.model, stages=None, head=Pooled()),
    ):
        finalist = dataclasses.replace(searching, student=dataclasses.replace(recipe.student, model=model))
        assert config(finalist) == config(searching)
    model = dataclasses.replace(recipe.student.model, head=Pooled(), image_px=64)
    other = dataclasses.replace(recipe, student=dataclasses.replace(recipe.student, model=model))
    assert config(other) == config(recipe)
    assert config(searching) != config(recipe)


@pytest.mark.parametrize(
    ("students", "maps"),
    [
        (None, 1),  # of the fourth stage, the only one behind the four frozen groups of the default student
        ({"image_px": 64}, 1),
        ({"stages": [4, None]}, 2),
        ({"stages": [4, 9], "backbone": ["tf_efficientnet_lite0", "no_such_net"]}, 1),  # two are left out
    ],
)
def test_as_many_stage_maps_are_stored_as_a_student_trains(
    students: dict[str, Any] | None, maps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(teacher_outputs, "record", lambda *_, **options: calls.append(options))
    monkeypatch.setattr(teacher_outputs, "features_folder", lambda _: tmp_path)
    search = build(Search, {"max_mb": 9, "students": students}, "grid", "search") if students else None
    recipe = dataclasses.replace(load_recipe("scenes"), search=search)
    distill.teacher_outputs(recipe).run(Context(tmp_path, {"data": tmp_path, "teacher": tmp_path}, silent))
    assert calls[0]["maps"] == maps


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
