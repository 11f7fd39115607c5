"""Who teaches the student of a recipe: the net that the line trains, teachers that are ready, or both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlkd.models import Model
from mlkd.models.weights import FileWeights
from mlkd.teachers import CheckpointTeacher, ReadyTeacher
from pipeline.recipe import Recipe
from pipeline.result import sha256


def teachers(recipe: Recipe, inputs: Mapping[str, Path]) -> tuple[ReadyTeacher, ...]:
    """All of them, the trained one first; `inputs` has the folder of the stage teacher where there is one."""
    trained = (CheckpointTeacher(path=inputs["teacher"]),) if recipe.teacher else ()
    return (*trained, *recipe.ready_teachers)


def sizes(recipe: Recipe) -> list[int]:
    """The sizes in pixels that the student and all teachers read."""
    nets = [recipe.student, *([recipe.teacher] if recipe.teacher else [])]
    return sorted({net.model.image_px for net in nets} | {ready.image_px for ready in recipe.ready_teachers})


def net(recipe: Recipe, inputs: Mapping[str, Path]) -> Path | None:
    """The folder of a teacher that is a net of ours and can run along, the trained one first; None without one."""
    if recipe.teacher:
        return inputs.get("teacher")
    return next((one.folder for one in recipe.ready_teachers if isinstance(one, CheckpointTeacher)), None)


def alone(recipe: Recipe, inputs: Mapping[str, Path]) -> Path | None:
    """The folder of the only teacher, if it is a net of ours."""
    return net(recipe, inputs) if len(recipe.ready_teachers) + (recipe.teacher is not None) == 1 else None


def reads(recipe: Recipe) -> tuple[str, ...]:
    """The stages that a stage reads which runs the teachers."""
    return ("teacher",) if recipe.teacher else ()


def ready(recipe: Recipe) -> dict[str, Any]:
    """How the ready teachers are used, for a stage's config; nothing where there is none."""
    return {"ready_teachers": recipe.ready_teachers} if recipe.ready_teachers else {}


def hashes(recipe: Recipe) -> dict[str, list[str]]:
    """sha256 of the ready teachers' files, nothing where there is none.  Raises ValueError for one that is missing."""
    files = [ready.files() for ready in recipe.ready_teachers]
    for path in (path for of_one in files for path in of_one):
        if not path.is_file():
            raise ValueError(f"ready_teachers: expected the file {path}, got nothing there; correct its path")
    return {"ready_files": [sha256(path) for of_one in files for path in of_one]} if files else {}


def first_weights(model: Model) -> dict[str, str]:
    """sha256 of the file that a net's first weights are from, nothing where they are from elsewhere."""
    return {"weights_file": sha256(model.weights.path)} if isinstance(model.weights, FileWeights) else {}
