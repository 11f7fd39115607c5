"""Float32 reference scores on the test set."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import ReferenceScores
from mlkd import teachers as mlkd_teachers
from mlkd.core.files import write_file
from mlkd.core.thresholds import tune as tune_thresholds
from mlkd.data.prepared import Split, read_split
from mlkd.training import evaluate
from pipeline import teachers
from pipeline.recipe.schema import Recipe
from pipeline.runner.stage import Context

NETS = ("teacher", "student", "baseline")
FOLDER = "torch"


def write(recipe: Recipe, context: Context) -> None:
    """Scores of the test set, with thresholds from those of tune; what is there from before a kill is not made again.

    Those of the teacher are those of all that teach, as one.
    """
    test, tune = (read_split(context.inputs["data"], name) for name in ("test", "tune"))
    folder = context.out / FOLDER
    folder.mkdir(exist_ok=True)
    for done, net in enumerate(NETS):
        context.progress("test scores in torch", done, len(NETS))
        scores, thresholds = _files(folder, net)
        if not scores.is_file():
            own = _scores(recipe, context, net, tune)
            _save(thresholds, tune_thresholds(own, tune.targets, recipe.export.thresholds, tune.label_mask))
            _save(scores, _scores(recipe, context, net, test))
    context.progress("test scores in torch", len(NETS), len(NETS))


def read(references: Path) -> dict[str, ReferenceScores]:
    """By net, from the folder of the stage that wrote them."""
    files = {net: _files(references / FOLDER, net) for net in NETS}
    return {net: ReferenceScores(np.load(scores), np.load(thresholds)) for net, (scores, thresholds) in files.items()}


def _files(folder: Path, net: str) -> tuple[Path, Path]:
    return folder / f"{net}.npy", folder / f"{net}.thresholds.npy"


def _save(file: Path, values: NDArray[np.float32]) -> None:
    stream = io.BytesIO()
    np.save(stream, values)
    write_file(file, stream.getvalue())


def _scores(recipe: Recipe, context: Context, net: str, split: Split) -> NDArray[np.float32]:
    if net != "teacher":
        return evaluate.score_folder(context.inputs[net], split)
    loaded = mlkd_teachers.load(teachers.teachers(recipe, context.inputs), split.labels)
    return mlkd_teachers.scores(loaded, split)
