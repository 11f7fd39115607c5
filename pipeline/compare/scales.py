"""How large the gradient of each method's losses is beside that of the labels: stages start and scale."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

from mlkd.losses import Bce
from mlkd.models.checkpoint import BEST
from mlkd.training.config import Training
from pipeline import teachers
from pipeline.declarations import distill
from pipeline.recipe.methods import Method
from pipeline.recipe.schema import Recipe
from pipeline.runner.result import read_json, write_json
from pipeline.runner.stage import Context, Stage
from pipeline.stages.data import features_folder

START, FILE = "compare/start", "scale.json"
AGAINST = Bce()


def start(recipe: Recipe, epochs: int) -> Stage:
    """A student without a teacher after the first of `epochs` epochs, where the gradients are compared."""
    training = dataclasses.replace(recipe.student.training, losses=(AGAINST,), epochs=epochs, stop_epoch=1)
    return Stage(
        name=START,
        run=partial(_start, recipe, training),
        reads=("data", "teacher_outputs"),
        config={"model": recipe.student.model, "training": training, "seed": 0},
        packages=distill.PACKAGES,
        volatile=distill.LOGS,
        outside=partial(teachers.first_weights, recipe.student.model),
    )


def scale(recipe: Recipe, method: Method, name: str) -> Stage:
    """The gradient norm of the method's scaled losses at factor 1, over that of the labels."""
    live = any("features" in loss.needs for loss in method.scaled)
    losses = (AGAINST, *(dataclasses.replace(loss, ramp_epochs=0.0) for loss in method.scaled))
    training = dataclasses.replace(recipe.student.training, losses=losses, stop_epoch=0)
    return Stage(
        name=name,
        run=partial(_scale, recipe, training),
        reads=("data", *(teachers.reads(recipe) if live else ()), "teacher_outputs", START),
        config={"training": training, "seed": 0},
        packages=distill.PACKAGES,
    )


def read_factor(context: Context, name: str, share: float) -> float:
    """Return the factor at which the losses that a stage has measured have this share of the labels' gradient."""
    return share / float(read_json(context.inputs[name] / FILE)["ratio"])


def remove_weights(folder: Path, keep: Collection[str]) -> None:
    """Remove the weights of a finished training, except the files `keep`."""
    for file in folder.rglob("*.safetensors"):
        if file.name not in keep:
            file.unlink()


def _start(recipe: Recipe, training: Training, context: Context) -> None:
    from mlkd.training.trainer import train

    data = context.inputs["data"]
    train(recipe.student.model, training, recipe.views, data, context.out, **_inputs(context))
    remove_weights(context.out, keep=(BEST,))


def _scale(recipe: Recipe, training: Training, context: Context) -> None:
    from mlkd.training.gradient_ratio import gradient_ratio
    from mlkd.training.trainer import TrainingRun

    teacher = teachers.net(recipe, context.inputs)
    run = TrainingRun(
        recipe.student.model,
        training,
        recipe.views,
        context.inputs["data"],
        context.out,
        teacher=teacher,
        **_inputs(context),
    )
    ratio = gradient_ratio(run, context.inputs[START], (AGAINST.kind,))
    write_json(context.out / FILE, {"ratio": ratio}, indent=None)


def _inputs(context: Context) -> dict[str, Any]:
    """Images are augmented as the teacher saw them, also where no loss reads its outputs."""
    return {
        "seed": 0,
        "teacher_outputs": context.inputs["teacher_outputs"],
        "features": features_folder(context),
        "progress": context.progress,
    }
