"""Stage baseline: the student's model trained without a teacher, on the same augmentations in the same order."""

from __future__ import annotations

from functools import partial

from mlkd.training.trainer import train
from pipeline import teachers
from pipeline.recipe.schema import Recipe
from pipeline.runner.stage import Context, Stage
from pipeline.stages.data import features_folder
from pipeline.stages.teacher import LOGS, PACKAGES


def stage(recipe: Recipe) -> Stage:
    """Declare the stage."""
    model, training = recipe.student.model, recipe.baseline
    return Stage(
        name="baseline",
        run=partial(run, recipe),
        reads=("data",),
        config={"model": model, "training": training, "views": recipe.views, "seed": recipe.seed},
        version=3,  # frozen layers keep their statistics
        packages=PACKAGES,
        volatile=LOGS,
        outside=partial(teachers.first_weights, model),
        distributed=True,
    )


def run(recipe: Recipe, context: Context) -> None:
    """Train it from the labels alone."""
    train(
        recipe.student.model,
        recipe.baseline,
        recipe.views,
        context.inputs["data"],
        context.out,
        seed=recipe.seed,
        features=features_folder(context),
        progress=context.progress,
    )
