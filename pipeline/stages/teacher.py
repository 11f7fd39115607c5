"""Stage teacher: train the large model; absent where only pretrained teachers teach."""

from __future__ import annotations

from mlkd.data.prepared import read_split
from mlkd.training.trainer import train
from pipeline.recipe.schema import Recipe, Trained
from pipeline.runner.stage import Context
from pipeline.stages.data import features_folder


def run(recipe: Recipe, teacher: Trained, context: Context) -> None:
    """Train it; before that, check that the pretrained teachers fit the data."""
    for ready in recipe.ready_teachers:
        ready.load(read_split(context.inputs["data"], "train").labels)
    train(
        teacher.model,
        teacher.training,
        recipe.views,
        context.inputs["data"],
        context.out,
        seed=recipe.seed,
        features=features_folder(context),
        progress=context.progress,
    )
