"""Stage teacher: train the large model; absent where only pretrained teachers teach."""

from __future__ import annotations

from functools import partial

from mlkd.data.prepared import read_split
from mlkd.models.weight_packages import PACKAGES as WEIGHT_PACKAGES
from mlkd.training.trainer import train
from pipeline import teachers
from pipeline.recipe.schema import Recipe, Trained
from pipeline.runner.identity import plain
from pipeline.runner.stage import Context, Stage
from pipeline.stages.data import features_folder

PACKAGES = ("torch", "torchvision", "timm", "accelerate", "numpy", *WEIGHT_PACKAGES)  # of every stage that trains
LOGS = ("history.json", "*tfevents*", "last.safetensors")  # no later stage's numbers depend on them


def stage(recipe: Recipe, teacher: Trained) -> Stage:
    """Declare the stage."""
    return Stage(
        name="teacher",
        run=partial(run, recipe, teacher),
        reads=("data",),
        config={**plain(teacher), "views": recipe.views, "seed": recipe.seed},
        version=3,  # frozen layers keep their statistics
        packages=PACKAGES,
        volatile=LOGS,
        outside=partial(teachers.first_weights, teacher.model),
        distributed=True,
    )


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
