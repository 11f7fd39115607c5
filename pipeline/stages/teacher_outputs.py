"""Stage teacher_outputs: the teachers' outputs for every augmentation of every training image, stored once."""

from __future__ import annotations

from functools import partial

from mlkd.teachers import cache
from pipeline import teachers
from pipeline.recipe.schema import Recipe
from pipeline.runner.stage import Context, Stage
from pipeline.stages.teacher import PACKAGES


def stage(recipe: Recipe) -> Stage:
    """Declare the stage."""
    return Stage(
        name="teacher_outputs",
        run=partial(run, recipe),
        reads=("data", *teachers.reads(recipe)),
        config={"views": recipe.views, "seed": recipe.seed, **teachers.ready(recipe)},
        version=2,
        packages=(*PACKAGES, *(["onnxruntime-gpu"] if recipe.ready_teachers else [])),
        outside=partial(teachers.hashes, recipe),
    )


def run(recipe: Recipe, context: Context) -> None:
    """Record the outputs of all teachers; measure pretrained ones on select first."""
    if recipe.ready_teachers:
        teachers.measure(recipe, context.inputs, context.out)
    taught_by, data = teachers.teachers(recipe, context.inputs), context.inputs["data"]
    cache.record(taught_by, data, recipe.views, context.out, seed=recipe.seed, progress=context.progress)
