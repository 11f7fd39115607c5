"""The stored outputs follow what the student compares."""

from __future__ import annotations

import dataclasses

from pipeline.declarations import distill
from pipeline.recipe.schema import Recipe, load_recipe
from pipeline.runner.identity import plain


def test_another_number_of_frozen_stages_needs_other_stage_maps() -> None:
    recipe = load_recipe("scenes")
    assert config(recipe) == config(load_recipe("scenes"))
    training = dataclasses.replace(recipe.student.training, frozen_groups=0)
    other = dataclasses.replace(recipe, student=dataclasses.replace(recipe.student, training=training))
    assert config(other) != config(recipe)


def config(recipe: Recipe) -> object:
    return plain(distill.teacher_outputs(recipe).config)
