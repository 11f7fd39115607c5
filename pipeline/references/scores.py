"""Reference scores: the float32 models on the test set.  Every measured row is compared with them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import ReferenceScores
from mlkd import teachers as mlkd_teachers
from mlkd.core.files import write_file
from mlkd.core.thresholds import tune as tune_thresholds
from mlkd.data.prepared import Split, read_split
from mlkd.models.checkpoint import load_labels, load_model
from mlkd.models.weights import TrainedWeights
from mlkd.training import evaluate
from pipeline import teachers
from pipeline.recipe.schema import Recipe
from pipeline.runner.stage import Context

MODELS = ("teacher", "student", "baseline")  # teacher: the mean of all teachers
FOLDER = "torch"
BEFORE = "before.npy"


def write(recipe: Recipe, context: Context, models: Sequence[str] = MODELS) -> None:
    """Write the scores of test, and thresholds tuned on tune; scores that an interrupted run wrote are kept."""
    test, tune = (read_split(context.inputs["data"], name) for name in ("test", "tune"))
    folder = context.out / FOLDER
    folder.mkdir(exist_ok=True)
    for done, model in enumerate(models):
        context.progress("test scores in torch", done, len(models))
        scores, thresholds = _files(folder, model)
        if not scores.is_file():
            on_tune = _scores(recipe, context, model, tune)
            _save(thresholds, tune_thresholds(on_tune, tune.targets, recipe.export.thresholds, tune.label_mask))
            _save(scores, _scores(recipe, context, model, test))
    _write_before(recipe, test, folder / BEFORE)
    context.progress("test scores in torch", len(models), len(models))


def _write_before(recipe: Recipe, test: Split, file: Path) -> None:
    """Write the scores (N, L) of the model that the student continues, nan for labels that it lacks."""
    weights = recipe.student.model.weights
    if file.is_file() or not isinstance(weights, TrainedWeights):
        return
    model = load_model(weights.path.parent, weights.path.name)
    names = load_labels(weights.path.parent, weights.path.name).names
    known = [column for column, name in enumerate(test.labels.names) if name in names]
    same = model.image_px == recipe.student.model.image_px
    pixels = test.pixels(model.image_px) if same else test.decode(model.image_px, range(len(test)))
    scores = np.full(test.targets.shape, np.nan, np.float32)
    scores[:, known] = evaluate.scores(model, pixels)[:, [names.index(test.labels.names[column]) for column in known]]
    _save(file, scores)


def read_before(references: Path) -> NDArray[np.float32] | None:
    """Read the scores (N, L) of the model that the student continues; None if it began with other weights."""
    file = references / FOLDER / BEFORE
    return np.load(file) if file.is_file() else None


def read(references: Path, models: Sequence[str] = MODELS) -> dict[str, ReferenceScores]:
    """Read scores and thresholds by model from the folder of the stage references, or of scores."""
    paths = {model: _files(references / FOLDER, model) for model in models}
    return {
        model: ReferenceScores(np.load(scores), np.load(thresholds)) for model, (scores, thresholds) in paths.items()
    }


def _files(folder: Path, model: str) -> tuple[Path, Path]:
    return folder / f"{model}.npy", folder / f"{model}.thresholds.npy"


def _save(file: Path, values: NDArray[np.float32]) -> None:
    stream = io.BytesIO()
    np.save(stream, values)
    write_file(file, stream.getvalue())


def _scores(recipe: Recipe, context: Context, model: str, split: Split) -> NDArray[np.float32]:
    if model != "teacher":
        return evaluate.score_folder(context.inputs[model], split)
    loaded = mlkd_teachers.load(teachers.teachers(recipe, context.inputs), split.labels)
    return mlkd_teachers.scores(loaded, split)
