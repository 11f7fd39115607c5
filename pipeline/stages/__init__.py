"""All stages of a recipe, in order; each has its function `run` in the file of its name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from pipeline import estimates
from pipeline.declarations import bench, distill, export
from pipeline.recipe.device_list import HERE, DeviceList
from pipeline.recipe.schema import Recipe
from pipeline.runner.stage import Pipeline


def pipeline(
    recipe: Recipe, folder: Path, force: frozenset[str] = frozenset(), device_list: DeviceList | None = None
) -> Pipeline:
    """Build the stages of a recipe, with results in `folder`; those in `force` run again."""
    here, others = (device_list.here, device_list.others) if device_list else (HERE, ())
    made_by = distill.recipe_hash(recipe)  # once: it reads the files of pretrained teachers
    stages = (
        distill.data(recipe, folder),
        *((distill.teacher(recipe, recipe.teacher),) if recipe.teacher else ()),
        distill.teacher_outputs(recipe),
        distill.student(recipe),
        distill.baseline(recipe),
        export.onnx(recipe, made_by),
        export.precisions(recipe),
        export.engines(recipe),
        export.bundle(recipe, made_by),
        export.references(recipe),
        bench.bench(recipe, here),
        *((bench.devices(recipe, folder, others),) if others else ()),
        bench.report(folder, here, devices=bool(others)),
    )
    work = estimates.work(recipe, folder, devices=len(others))
    return Pipeline(tuple(dataclasses.replace(stage, work=work[stage.name]) for stage in stages), folder, force)
