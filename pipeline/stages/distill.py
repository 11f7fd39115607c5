"""Stages that learn: data, teacher, teacher_outputs, student, baseline."""

from __future__ import annotations

import json
import logging

from mlkd.data.prepared import prepare, read_split
from mlkd.teachers import cache as outputs
from mlkd.training.trainer import train
from pipeline import teachers
from pipeline.recipe.schema import Recipe
from pipeline.runner.stage import Context

log = logging.getLogger(__name__)


def data(recipe: Recipe, context: Context) -> None:
    """Pictures at the sizes of all nets, split and labelled."""
    prepare(recipe.data, context.out, teachers.sizes(recipe), context.progress)
    skipped = json.loads((context.out / "skipped.json").read_text(encoding="utf-8"))
    if skipped:
        first = "; ".join(f"{name}: {why}" for name, why in list(skipped.items())[:2])
        log.warning("data: %d left out, all named in skipped.json, the first: %s", len(skipped), first)


def teacher(recipe: Recipe, context: Context) -> None:
    """The large net; before it is trained for long, teachers that are ready have to fit the data."""
    assert recipe.teacher is not None, "else the line has no such stage"
    for ready in recipe.ready_teachers:
        ready.load(read_split(context.inputs["data"], "train").labels)
    model, training = recipe.teacher.model, recipe.teacher.training
    progress = context.progress
    train(model, training, recipe.views, context.inputs["data"], context.out, seed=recipe.seed, progress=progress)


def teacher_outputs(recipe: Recipe, context: Context) -> None:
    """What the teachers say to every view of every training picture."""
    taught_by, pictures = teachers.teachers(recipe, context.inputs), context.inputs["data"]
    if recipe.ready_teachers:
        teachers.measure(recipe, context.inputs, context.out)
    outputs.record(taught_by, pictures, recipe.views, context.out, seed=recipe.seed, progress=context.progress)


def student(recipe: Recipe, context: Context) -> None:
    """The compact net, taught."""
    train(
        recipe.student.model,
        recipe.student.training,
        recipe.views,
        context.inputs["data"],
        context.out,
        seed=recipe.seed,
        teacher_outputs=context.inputs["teacher_outputs"],
        teacher=teachers.net(recipe, context.inputs),
        progress=context.progress,
    )


def baseline(recipe: Recipe, context: Context) -> None:
    """The same net from the labels alone, on the same views in the same order."""
    model, training, progress = recipe.student.model, recipe.baseline, context.progress
    train(model, training, recipe.views, context.inputs["data"], context.out, seed=recipe.seed, progress=progress)
