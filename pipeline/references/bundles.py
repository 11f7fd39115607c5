"""Bundles of the teacher and of the baseline, exported like the student's, to compare latency and mAP with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from export.backends import on_all_cores, score_in_batches
from export.bundle.bundle import PROGRAM, read_bundle
from mlkd.core.thresholds import Thresholds
from mlkd.data.prepared import Split, read_split
from mlkd.models.checkpoint import load_labels, load_model
from pipeline.recipe.schema import Engine, Recipe
from pipeline.references.model_bundle import Material, write_model_bundle
from pipeline.runner.stage import Context
from pipeline.validation import BATCH, tuned


def export_model(
    recipe: Recipe, context: Context, model: str, folder: Path, engines: Sequence[Engine], calibrated: Collection[str]
) -> dict[Engine, str]:
    """Write the bundle of the model in `folder` with the engines that can be made; returns why others cannot.

    The rest of the bundle is the student's. `calibrated` names the images that calibrated the student's int8 graphs.
    """
    data, student = context.inputs["data"], context.inputs["bundle"] / "bundle"
    manifest, train, tagger = read_bundle(student), read_split(data, "train"), load_model(folder)
    rows = [row for row, name in enumerate(train.names) if name in calibrated]
    material = Material(
        tagger=tagger,
        labels=load_labels(folder),
        recipe_hash=manifest.recipe_hash,
        calibration=partial(train.pixels_of, tagger.image_px, rows),
        decisions=partial(_decisions, read_split(data, "tune"), recipe.export.thresholds),
        golden=[student / name for name in manifest.golden],
        manifest=partial(dataclasses.replace, manifest),
        program=student / PROGRAM,
    )
    return write_model_bundle(material, engines, context.out / model)


def _decisions(tune: Split, aim: Thresholds, engine: Engine, file: Path) -> Mapping[str, Any]:
    """Tune the thresholds of an engine on its own scores."""
    with on_all_cores(engine.backend).open(file) as session:
        scores = score_in_batches(session, tune.pixels(session.image[0]), BATCH)
    return tuned(engine.name, tune, scores, aim)
