"""Stage baseline: the student's model trained without a teacher, on the same augmentations in the same order."""

from __future__ import annotations

from mlkd.training.trainer import train
from pipeline.recipe.schema import Recipe
from pipeline.runner.stage import Context
from pipeline.stages.data import features_folder


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
