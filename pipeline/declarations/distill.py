"""Declarations of the stages of `distill`: data, teacher, teacher_outputs, student, baseline."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mlkd.data import Shards, Source
from mlkd.losses.pca_maps import components
from mlkd.models.weight_packages import PACKAGES as WEIGHT_PACKAGES
from pipeline import teachers
from pipeline.declarations import body
from pipeline.recipe.schema import Recipe, Trained
from pipeline.runner import result
from pipeline.runner.identity import plain
from pipeline.runner.stage import Stage

PACKAGES = ("torch", "torchvision", "timm", "accelerate", "numpy", *WEIGHT_PACKAGES)  # of every stage that trains
LOGS = ("history.json", "*tfevents*", "last.safetensors")  # no later stage's numbers depend on them


def data(recipe: Recipe, folder: Path) -> Stage:
    return Stage(
        name="data",
        run=body("data", recipe),
        prepare=body("data", recipe, function="prepare_run"),
        config={"source": recipe.data, "sizes": teachers.sizes(recipe)},
        packages=("numpy", "pillow", "pillow-heif"),
        version=7,  # about.json counts images; findings in plain words
        outside=partial(_fingerprint, recipe.data, folder),
    )


def _fingerprint(source: Source, folder: Path) -> Mapping[str, Any]:
    """Return the fingerprint of the source; if the fetched images are gone, the one of the last run."""
    try:
        return {"images": source.fingerprint()}
    except ValueError:
        before = result.read(folder / "data")
        if not source.needs_fetch():
            raise
        return before.identity["outside"] if before else {"images": "not fetched yet"}


def teacher(recipe: Recipe, teacher: Trained) -> Stage:
    """Absent where only pretrained teachers teach."""
    return Stage(
        name="teacher",
        run=body("teacher", recipe, teacher),
        reads=("data",),
        unread=teachers.unread(recipe),
        config={**plain(teacher), "views": recipe.views, "seed": recipe.seed},
        version=5,  # fused step of the optimiser
        packages=PACKAGES,
        volatile=LOGS,
        outside=partial(teachers.first_weights, teacher.model),
        distributed=True,
    )


def teacher_outputs(recipe: Recipe) -> Stage:
    training = recipe.student.training
    backbones, depths = teachers.student_backbones(recipe)
    maps = {"backbones": backbones, "stages": depths, "frozen_groups": training.frozen_groups}  # how many are stored
    return Stage(
        name="teacher_outputs",
        run=body("teacher_outputs", recipe),
        reads=("data", *teachers.reads(recipe)),
        unread=teachers.unread(recipe),
        config={
            "views": recipe.views,
            "seed": recipe.seed,
            "stage_maps_for": maps if "features" in training.needs else None,
            **({"label_maps": True} if "label_maps" in training.needs else {}),
            **({"components": count} if (count := components(training.losses)) else {}),
            **teachers.ready(recipe),
        },
        version=5,  # as many stage maps as any student of the search needs
        packages=(*PACKAGES, *(["onnxruntime-gpu"] if recipe.ready_teachers else [])),
        outside=partial(teachers.hashes, recipe),
        distributed=isinstance(recipe.data, Shards),
    )


def student(recipe: Recipe) -> Stage:
    """It reads the teacher itself only where a loss needs its stage maps."""
    live = teachers.reads(recipe) if "features" in recipe.student.training.needs else ()
    return Stage(
        name="student",
        run=body("student", recipe),
        reads=("data", *live, "teacher_outputs"),
        unread=teachers.unread(recipe, recipe.student.model),
        config={**plain(recipe.student), "seed": recipe.seed},
        version=7,  # fused step of the optimiser
        packages=PACKAGES,
        volatile=LOGS,
        outside=partial(teachers.first_weights, recipe.student.model),
        distributed=True,
    )


def recipe_hash(recipe: Recipe) -> str:
    """Return a hash of everything that the student was trained from, except where the images lie."""
    parts = {name: getattr(recipe, name) for name in ("name", "seed", "views", "teacher", "student")}
    source = {
        entry.name: value
        for entry in dataclasses.fields(recipe.data)
        if not isinstance(value := getattr(recipe.data, entry.name), Path) and not _are_paths(value)
    }
    return result.digest(plain({**parts, "data": source, **teachers.ready(recipe), **teachers.hashes(recipe)}))


def _are_paths(value: Any) -> bool:
    return isinstance(value, tuple) and any(isinstance(item, Path) for item in value)


def baseline(recipe: Recipe) -> Stage:
    model, training = recipe.student.model, recipe.baseline
    return Stage(
        name="baseline",
        run=body("baseline", recipe),
        reads=("data",),
        unread=teachers.unread(recipe, model),
        config={"model": model, "training": training, "views": recipe.views, "seed": recipe.seed},
        version=5,  # fused step of the optimiser
        packages=PACKAGES,
        volatile=LOGS,
        outside=partial(teachers.first_weights, model),
        distributed=True,
    )
