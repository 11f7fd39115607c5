"""Stage teacher_outputs: the teachers' outputs for every augmentation of every training image, stored once."""

from __future__ import annotations

import dataclasses
from itertools import product

from mlkd.data import Shards
from mlkd.losses.pca_maps import components
from mlkd.models import frozen
from mlkd.models.weights import RandomWeights
from mlkd.teachers.record import record
from pipeline import teachers
from pipeline.recipe.schema import Recipe
from pipeline.runner import ranks
from pipeline.runner.stage import Context
from pipeline.stages.data import features_folder


def run(recipe: Recipe, context: Context) -> None:
    """Record the outputs of all teachers; measure pretrained ones on select first."""
    if recipe.ready_teachers and ranks.is_first():
        teachers.measure(recipe, context.inputs, context.out)
    needs = recipe.student.training.needs
    data, shared = context.inputs["data"], isinstance(recipe.data, Shards)
    record(
        teachers.teachers(recipe, context.inputs),
        data,
        recipe.views,
        context.out,
        seed=recipe.seed,
        maps=_count_maps(recipe) if "features" in needs else 0,
        label_maps="label_maps" in needs,
        components=components(recipe.student.training.losses),
        frozen_groups=recipe.teacher.training.frozen_groups if recipe.teacher else 0,
        features=features_folder(context),
        rank=ranks.number() if shared else 0,
        ranks=ranks.count() if shared else 1,
        progress=context.progress,
    )


def _count_maps(recipe: Recipe) -> int:
    """The most stage maps that a student trains, which is how many of the teacher's they are compared with."""
    return max((_trained_maps(recipe, *parts) for parts in product(*teachers.student_backbones(recipe))), default=0)


def _trained_maps(recipe: Recipe, backbone: str, stages: int | None) -> int:
    """0 for a combination that the search leaves out."""
    model = dataclasses.replace(recipe.student.model, backbone=backbone, stages=stages, weights=RandomWeights())
    try:
        student = model.build(1, pretrained=False)
        frozen.freeze(student, recipe.student.training.frozen_groups)
        return len(student.stage_shapes(trainable=True))
    except (ValueError, RuntimeError):  # RuntimeError: of timm
        if recipe.search is None:
            raise
        return 0
