"""All stages of a recipe, in order: one file a stage, with its declaration and its body."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from pipeline.recipe.device_list import HERE, DeviceList
from pipeline.recipe.schema import Recipe
from pipeline.runner.stage import Pipeline, Stage
from pipeline.stages import (
    baseline,
    bench,
    bundle,
    data,
    devices,
    engines,
    onnx,
    precisions,
    references,
    report,
    student,
    teacher,
    teacher_outputs,
)


def pipeline(
    recipe: Recipe, folder: Path, force: frozenset[str] = frozenset(), device_list: DeviceList | None = None
) -> Pipeline:
    """Build the stages of a recipe, with results in `folder`; those in `force` run again.

    Raises ValueError for an estimate of a stage that does not exist.
    """
    here, others = (device_list.here, device_list.others) if device_list else (HERE, ())
    made_by = student.recipe_hash(recipe)  # once: it reads the files of pretrained teachers
    stages = (
        data.stage(recipe, folder),
        *((teacher.stage(recipe, recipe.teacher),) if recipe.teacher else ()),
        teacher_outputs.stage(recipe),
        student.stage(recipe),
        baseline.stage(recipe),
        onnx.stage(recipe, made_by),
        precisions.stage(recipe),
        engines.stage(recipe),
        bundle.stage(recipe, made_by),
        references.stage(recipe),
        bench.stage(recipe, here),
        *((devices.stage(recipe, folder, others),) if others else ()),
        report.stage(folder, here, devices=bool(others)),
    )
    return Pipeline(_with_estimates(stages, recipe.estimates), folder, force)


def _with_estimates(stages: tuple[Stage, ...], minutes: dict[str, float]) -> tuple[Stage, ...]:
    names = {stage.name for stage in stages} | {"teacher"}  # a recipe may extend one that has it
    for name in minutes.keys() - names:
        raise ValueError(f"minutes.{name}: expected one of {', '.join(sorted(names))}, got {name!r}; correct the name")
    return tuple(
        dataclasses.replace(stage, seconds=60 * minutes[stage.name]) if stage.name in minutes else stage
        for stage in stages
    )
