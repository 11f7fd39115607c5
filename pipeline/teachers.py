"""Who teaches the student of a recipe: the net that the line trains, teachers that are ready, or both."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report.problems import CHECK
from mlkd import teachers as mlkd_teachers
from mlkd.core.files import sha256_of
from mlkd.core.labels import Labels
from mlkd.core.metrics import mean_average_precision
from mlkd.data.prepared import read_split
from mlkd.models.checkpoint import BEST, load_labels, read_facts
from mlkd.models.network import Model
from mlkd.models.weights import FileWeights
from mlkd.teachers import CheckpointTeacher, ReadyTeacher
from pipeline.recipe.schema import Recipe
from pipeline.runner.result import read_json

log = logging.getLogger(__name__)

SELECT = "select.json"
NEAR_CHANCE = 1.5  # times the mAP of random scores


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
    """The folder of the only teacher, if it is a net of ours with exactly the labels of the data, in their order."""
    if len(recipe.ready_teachers) + (recipe.teacher is not None) != 1:
        return None
    folder = net(recipe, inputs)
    if folder is None or recipe.teacher:
        return folder
    return folder if load_labels(folder) == Labels.read(inputs["data"] / "labels.json") else None


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
    return {"ready_files": [sha256_of(path) for of_one in files for path in of_one]} if files else {}


def measure(recipe: Recipe, inputs: Mapping[str, Path], out: Path) -> None:
    """Write SELECT into `out`: the mAP of ready teachers, as one with the trained, and what chance has; log both."""
    split = read_split(inputs["data"], "select")
    scores = mlkd_teachers.scores(mlkd_teachers.load(teachers(recipe, inputs), split.labels), split)
    found = mean_average_precision(scores, split.targets, split.label_mask)
    rng = np.random.default_rng(0)
    chance = np.mean(
        [mean_average_precision(rng.random(scores.shape), split.targets, split.label_mask) for _ in range(9)]
    )
    told = f"teacher: select mAP {100 * found:.1f}, {100 * chance:.1f} by chance"
    log.log(logging.WARNING if found < NEAR_CHANCE * chance else logging.INFO, "%s", told)
    if found < NEAR_CHANCE * chance:
        log.warning("teacher: %s", CHECK)
    (out / SELECT).write_text(json.dumps({"select_map": found, "chance": float(chance)}) + "\n", encoding="utf-8")


def select_maps(recipe: Recipe, folder: Path) -> dict[str, float]:
    """By net the mAP on select, of all teachers as one, from the folder of a run; what is not there yet is left out."""
    nets = {"student": "student", "baseline": "baseline"} | ({} if recipe.ready_teachers else {"teacher": "teacher"})
    files = {net: folder / stage / BEST for net, stage in nets.items()}
    found = {net: float(read_facts(file)["select_map"]) for net, file in files.items() if file.is_file()}
    if (folder / "teacher_outputs" / SELECT).is_file():
        found["teacher"] = read_json(folder / "teacher_outputs" / SELECT)["select_map"]
    return found


def tell(found: Mapping[str, float]) -> None:
    """Log the nets' mAP on select beside each other, and a warning where the teacher is of no use."""
    if found.keys() != {"teacher", "student", "baseline"}:
        return
    teacher, student, baseline = (100 * found[net] for net in ("teacher", "student", "baseline"))
    log.info("select mAP: teacher %.1f, student %.1f, student without a teacher %.1f", teacher, student, baseline)
    if teacher < baseline:
        log.warning("the teacher is below the student without a teacher: %s, or train it longer", CHECK)
    if student <= baseline:
        log.warning("distilling does not help: the student is no better than without a teacher")


def first_weights(model: Model) -> dict[str, str]:
    """sha256 of the file that a net's first weights are from, nothing where they are from elsewhere."""
    return {"weights_file": sha256_of(model.weights.path)} if isinstance(model.weights, FileWeights) else {}
