"""Stage student: train the compact model with the teachers' outputs."""

from __future__ import annotations

from mlkd.training.trainer import train
from pipeline import teachers
from pipeline.recipe.schema import Recipe
from pipeline.runner.stage import Context
from pipeline.stages.data import features_folder


def run(recipe: Recipe, context: Context) -> None:
    """Distil the student."""
    train(
        recipe.student.model,
        recipe.student.training,
        recipe.views,
        context.inputs["data"],
        context.out,
        seed=recipe.seed,
        teacher_outputs=context.inputs["teacher_outputs"],
        teacher=teachers.net(recipe, context.inputs),
        features=features_folder(context),
        progress=context.progress,
    )
