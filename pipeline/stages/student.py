"""Stage student: train the compact model with the teachers' outputs."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

from mlkd.training.trainer import train
from pipeline import teachers
from pipeline.recipe.schema import Recipe
from pipeline.runner import result
from pipeline.runner.identity import plain
from pipeline.runner.stage import Context, Stage
from pipeline.stages.data import features_folder
from pipeline.stages.teacher import LOGS, PACKAGES


def stage(recipe: Recipe) -> Stage:
    """Declare the stage; it reads the teacher itself only where a loss needs its stage maps."""
    live = teachers.reads(recipe) if "features" in recipe.student.training.needs else ()
    return Stage(
        name="student",
        run=partial(run, recipe),
        reads=("data", *live, "teacher_outputs"),
        config={**plain(recipe.student), "seed": recipe.seed},
        version=5,  # frozen layers keep their statistics
        packages=PACKAGES,
        volatile=LOGS,
        outside=partial(teachers.first_weights, recipe.student.model),
        distributed=True,
    )


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


def recipe_hash(recipe: Recipe) -> str:
    """Return a hash of everything that the student was trained from, except where the images lie."""
    parts = {name: getattr(recipe, name) for name in ("name", "seed", "views", "teacher", "student")}
    source = {
        entry.name: value
        for entry in dataclasses.fields(recipe.data)
        if not isinstance(value := getattr(recipe.data, entry.name), Path)
    }
    return result.digest(plain({**parts, "data": source, **teachers.ready(recipe), **teachers.hashes(recipe)}))
