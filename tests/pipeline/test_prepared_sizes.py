"""Which sizes of the images are prepared, and which of them a stage depends on."""

from dataclasses import replace
from pathlib import Path

from mlkd.models.config import Model
from pipeline import stages, teachers
from pipeline.recipe.grid import Grid
from pipeline.recipe.schema import load_recipe
from pipeline.recipe.search import Search


def test_sizes_of_a_search_and_which_of_them_a_stage_depends_on() -> None:
    recipe = load_recipe("scenes")
    assert teachers.unread(recipe) == ("*.80.npy",)
    students = Grid[Model]({"image_px": (24, 80, 112)})
    recipe = replace(recipe, search=Search(max_mb=1.0, students=students))
    assert teachers.sizes(recipe) == [24, 80, 96, 112]
    trained = stages.pipeline(recipe, Path("runs/scenes")).until("student", "baseline").stages
    others = ("*.24.npy", "*.112.npy")
    of_teacher = ("*.24.npy", "*.80.npy", "*.112.npy")
    assert {stage.name: stage.unread for stage in trained} == {
        "data": (), "teacher": of_teacher, "teacher_outputs": of_teacher, "student": others, "baseline": others,
    }  # fmt: skip
