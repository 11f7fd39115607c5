"""All stages of a recipe, in order; each has its function `run` in the file of its name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from pipeline import estimates
from pipeline.declarations import bench as to_bench
from pipeline.declarations import distill as to_distill
from pipeline.declarations import export as to_export
from pipeline.recipe.device_list import HERE, DeviceList
from pipeline.recipe.schema import Recipe
from pipeline.runner.stage import Pipeline


def pipeline(
    recipe: Recipe,
    folder: Path,
    force: frozenset[str] = frozenset(),
    device_list: DeviceList | None = None,
    finals: Path | None = None,
) -> Pipeline:
    """Build the stages of a recipe, with results in `folder`; those in `force` run again.

    `finals` is the result of the search that found its student, whose other finalists are measured as well.
    """
    here, others = (device_list.here, device_list.others) if device_list else (HERE, ())
    made_by = to_distill.recipe_hash(recipe)  # once: it reads the files of pretrained teachers
    stages = (
        to_distill.data(recipe, folder),
        *((to_distill.teacher(recipe, recipe.teacher),) if recipe.teacher else ()),
        to_distill.teacher_outputs(recipe),
        to_distill.student(recipe),
        to_distill.baseline(recipe),
        to_export.onnx(recipe, made_by),
        to_export.precisions(recipe),
        to_export.engines(recipe),
        to_export.bundle(recipe, made_by),
        to_export.references(recipe),
        to_bench.bench(recipe, here, finals),
        *((to_bench.devices(recipe, folder, others, finals),) if others else ()),
        to_bench.report(folder, here, devices=bool(others)),
    )
    work = estimates.work(recipe, folder, devices=len(others))
    return Pipeline(tuple(dataclasses.replace(stage, work=work[stage.name]) for stage in stages), folder, force)
