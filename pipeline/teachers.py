"""The teachers of a recipe: the model that the pipeline trains, pretrained teachers, or both."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlkd.core.files import sha256_of
from mlkd.core.labels import Labels
from mlkd.models.checkpoint import BEST, load_labels, read_facts
from mlkd.models.config import Model
from mlkd.models.weights import FileWeights, TrainedWeights
from mlkd.teachers import CheckpointTeacher, ReadyTeacher
from pipeline.recipe.schema import Recipe
from pipeline.runner.result import read_json, write_json

log = logging.getLogger(__name__)

SELECT = "select.json"
NEAR_CHANCE = 1.5  # times the mAP of random scores


def teachers(recipe: Recipe, inputs: Mapping[str, Path]) -> tuple[ReadyTeacher, ...]:
    """Return all teachers, the trained one first; `inputs` holds the folder of the stage teacher, if it exists."""
    trained = (CheckpointTeacher(path=inputs["teacher"]),) if recipe.teacher else ()
    return (*trained, *recipe.ready_teachers)


def sizes(recipe: Recipe) -> list[int]:
    """Return the input sizes of all teachers, the student, and the students of the search, in pixels."""
    searched = recipe.search.students.values.get("image_px", ()) if recipe.search else ()
    return sorted({*_teacher_sizes(recipe), recipe.student.model.image_px, *searched})


def student_backbones(recipe: Recipe) -> tuple[list[str], list[int | None]]:
    """Return the backbones of the student, or of those of the search, and how many stages they may keep."""
    grid, model = recipe.search.students.values if recipe.search else {}, recipe.student.model
    return sorted(set(grid.get("backbone", (model.backbone,)))), list(grid.get("stages", (model.stages,)))


def unread(recipe: Recipe, *models: Model) -> tuple[str, ...]:
    """Return patterns of the prepared images that a stage does not depend on if it runs the teachers and `models`."""
    read = {*_teacher_sizes(recipe), *(model.image_px for model in models)}
    return tuple(f"*.{px}.npy" for px in sizes(recipe) if px not in read)


def _teacher_sizes(recipe: Recipe) -> set[int]:
    """The input sizes of the teachers."""
    trained = {recipe.teacher.model.image_px} if recipe.teacher else set()
    return trained | {ready.image_px for ready in recipe.ready_teachers}


def net(recipe: Recipe, inputs: Mapping[str, Path]) -> Path | None:
    """Return the folder of a teacher with stage maps, which runs during training; None without such a teacher."""
    if recipe.teacher:
        return inputs.get("teacher")
    return next((ready.folder for ready in recipe.ready_teachers if isinstance(ready, CheckpointTeacher)), None)


def alone(recipe: Recipe, inputs: Mapping[str, Path]) -> Path | None:
    """Return the folder of the only teacher if it is a TaggerNet with exactly the labels of the data, in order."""
    if len(recipe.ready_teachers) + (recipe.teacher is not None) != 1:
        return None
    folder = net(recipe, inputs)
    if folder is None or recipe.teacher:
        return folder
    return folder if load_labels(folder) == Labels.read(inputs["data"] / "labels.json") else None


def reads(recipe: Recipe) -> tuple[str, ...]:
    """Return the stages that a stage reads if it runs the teachers."""
    return ("teacher",) if recipe.teacher else ()


def ready(recipe: Recipe) -> dict[str, Any]:
    """Return the pretrained teachers for the config of a stage; empty without any."""
    return {"ready_teachers": recipe.ready_teachers} if recipe.ready_teachers else {}


def hashes(recipe: Recipe) -> dict[str, list[str]]:
    """Return the SHA-256 of the pretrained teachers' files, whose existence `check` tests; empty without any."""
    hashes = [sha256_of(path) for ready in recipe.ready_teachers for path in ready.files()]
    return {"ready_files": hashes} if hashes else {}


def measure(recipe: Recipe, inputs: Mapping[str, Path], out: Path) -> None:
    """Measure the teachers together on select and log their mAP beside that of random scores; write SELECT to `out`."""
    import numpy as np

    from benchmarks.report.problems import CHECK
    from mlkd import teachers as mlkd_teachers
    from mlkd.core.metrics import mean_average_precision
    from mlkd.data.prepared import read_split

    split = read_split(inputs["data"], "select")
    scores = mlkd_teachers.scores(mlkd_teachers.load(teachers(recipe, inputs), split.labels), split)
    teacher_map = mean_average_precision(scores, split.targets, split.label_mask)
    rng = np.random.default_rng(0)
    chance = np.mean(
        [mean_average_precision(rng.random(scores.shape), split.targets, split.label_mask) for _ in range(9)]
    )
    useless = teacher_map < NEAR_CHANCE * chance
    level = logging.WARNING if useless else logging.INFO
    log.log(level, "teacher: select mAP %.1f, %.1f by chance", 100 * teacher_map, 100 * chance)
    if useless:
        log.warning("teacher: %s", CHECK)
    write_json(out / SELECT, {"select_map": teacher_map, "chance": float(chance)}, indent=None)


def select_maps(recipe: Recipe, folder: Path) -> dict[str, float]:
    """Read the select mAP of teachers (as one), student and baseline from a run; missing results are left out."""
    nets = {"student": "student", "baseline": "baseline"} | ({} if recipe.ready_teachers else {"teacher": "teacher"})
    files = {net: folder / stage / BEST for net, stage in nets.items()}
    found = {net: float(read_facts(file)["select_map"]) for net, file in files.items() if file.is_file()}
    if (folder / "teacher_outputs" / SELECT).is_file():
        found["teacher"] = read_json(folder / "teacher_outputs" / SELECT)["select_map"]
    return found


def log_maps(found: Mapping[str, float]) -> None:
    """Log the select mAP of teacher, student and baseline, with a warning if the teacher does not help."""
    if found.keys() != {"teacher", "student", "baseline"}:
        return
    teacher, student, baseline = (100 * found[net] for net in ("teacher", "student", "baseline"))
    log.info("select mAP: teacher %.1f, student %.1f, student without a teacher %.1f", teacher, student, baseline)
    if teacher < baseline:
        from benchmarks.report.problems import CHECK

        log.warning("the teacher has a lower mAP than the student without a teacher: %s, or train it longer", CHECK)
    if student <= baseline:
        log.warning("on select the student is not better than without a teacher; the report compares them on test")


def first_weights(model: Model) -> dict[str, str]:
    """Return the SHA-256 of the first weights if they come from a file of the user or of a training; else empty."""
    if not isinstance(model.weights, (FileWeights, TrainedWeights)):
        return {}
    return {"weights_file": sha256_of(model.weights.path)}
