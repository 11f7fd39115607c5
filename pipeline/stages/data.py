"""Stage data: images at the sizes of all models, split and labelled."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

import torch

from export.precision import calibration
from mlkd.core.progress import Progress
from mlkd.data.preparation import prepare
from mlkd.data.prepared import read_split
from mlkd.data.scenes.fetch import fetch as fetch_images
from mlkd.models import backbone
from pipeline import teachers
from pipeline.recipe.schema import Recipe
from pipeline.runner import ranks, result
from pipeline.runner.speed import Expected
from pipeline.runner.stage import Context

log = logging.getLogger(__name__)


def run(recipe: Recipe, context: Context) -> None:
    """Prepare the images and log what was left out."""
    prepare(recipe.data, context.out, teachers.sizes(recipe), context.progress)
    train = read_split(context.out, "train")
    calibration.choose(train.targets, train.hashes, recipe.export.calibration_images, recipe.seed)  # before training
    skipped = result.read_json(context.out / "skipped.json")
    if skipped:
        first = "; ".join(f"{name}: {why}" for name, why in list(skipped.items())[:2])
        log.warning("data: %d left out, all named in skipped.json, the first: %s", len(skipped), first)


def features_folder(context: Context) -> Path:
    """Return the folder for features of frozen layers, shared by all stages that read this data; it is made on demand.

    Features of other data are removed; those that other recipes have of the same data are linked.
    """
    data = context.inputs["data"]
    found = result.read(data)
    assert found is not None, "a stage runs after those that it reads"
    kept = data.with_name("data.work")
    folder = kept / found.content[:16]
    if ranks.is_first():
        for other in kept.glob("*"):
            if other != folder:
                result.remove(other)
        _link_features(data.parent, folder)
    return folder


def _link_features(recipe: Path, folder: Path) -> None:
    """Link the features of this data from all recipes beside `recipe`; on a disk without links they are computed."""
    for file in sorted(recipe.parent.glob(f"*/data.work/{folder.name}/*.npy")):
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / file.name).hardlink_to(file)


def prepare_run(recipe: Recipe, progress: Progress) -> None:
    """Check names and stages of the backbones before anything takes long, and fetch the images of the demo data."""
    for name, trained in (("teacher", recipe.teacher), ("student", recipe.student)):
        model = trained.model if trained else recipe.student.model
        try:
            backbone.check(model.backbone)
            if model.stages is not None or model.expansion is not None:
                with torch.device("meta"):  # computes nothing
                    model.build(1, pretrained=False)
        except ValueError as cause:
            raise ValueError(f"{name}.{cause}") from None
    if recipe.data.needs_fetch():
        fetch_images(progress)


def fetch(progress: Callable[[Expected], Progress]) -> None:
    """Fetch the images of the default recipe."""
    fetch_images(progress(Expected("fetch")))
