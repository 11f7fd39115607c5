"""Build a candidate: an untrained model, exported and quantized, in a bundle that can be timed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.parsing import to_json
from export.bundle.bundle import Manifest
from mlkd.core.images import PREPROCESSING
from mlkd.core.labels import Labels
from mlkd.data.prepared import read_split
from mlkd.models.batch_norms import settle
from mlkd.models.config import Model
from mlkd.models.cost import cost
from mlkd.models.network import TaggerNet
from pipeline.recipe.schema import Engine
from pipeline.references.model_bundle import Material, attempt, write_model_bundle
from pipeline.runner.result import write_json
from pipeline.runner.stage import Context
from pipeline.search.rows import BUILT, BUNDLE, Built

CALIBRATION_IMAGES = 32  # ranges need not be good: the scores of an untrained model are not used


def run(model: Model, engines: Sequence[Engine], context: Context) -> None:
    """Write the bundle of a candidate with random weights; one that cannot be built has the reason."""
    built = attempt(lambda: _build(model, engines, context))
    write_json(context.out / BUILT, to_json(Built(reason=built) if isinstance(built, str) else built))


def _build(model: Model, engines: Sequence[Engine], context: Context) -> Built:
    data = context.inputs["data"]
    labels, train, select = Labels.read(data / "labels.json"), read_split(data, "train"), read_split(data, "select")
    images = train.decode(model.image_px, sorted(_choose(len(train), CALIBRATION_IMAGES)))
    material = Material(
        tagger=_tagger(model, len(labels), images),
        labels=labels,
        recipe_hash="",
        calibration=lambda: images,
        decisions=partial(_decisions, len(labels)),
        golden=select.files[:1],
        manifest=partial(_manifest, labels),
    )
    failed = write_model_bundle(material, engines, context.out / BUNDLE)
    numbers = cost(model, len(labels))
    return Built(
        parameters=numbers.parameters,
        multiply_adds=numbers.multiply_adds,
        failed={engine.name: reason for engine, reason in failed.items()},
        reason=next(iter(failed.values())) if len(failed) == len(engines) else None,
    )


def _tagger(model: Model, labels: int, images: NDArray[np.uint8]) -> TaggerNet:
    torch.manual_seed(0)
    tagger = model.build(labels, pretrained=False)
    settle(tagger, images)  # with statistics that suit no image, activations would vanish or overflow int8
    return tagger


def _choose(count: int, most: int) -> list[int]:
    return random.Random(0).sample(range(count), min(most, count))


def _decisions(labels: int, _engine: Engine, _file: Path) -> Mapping[str, Any]:
    """Thresholds of an engine whose scores mean nothing."""
    unknown = dict.fromkeys(("expected_precision", "expected_recall", "tune_ap"), (None,) * labels)
    return {"thresholds": (0.5,) * labels, "tune_map": None, **unknown}


def _manifest(labels: Labels, **fields: Any) -> Manifest:
    return Manifest(
        recipe="search",
        recipe_hash="",
        recipe_content={},
        labels=labels.names,
        preprocessing=dict(PREPROCESSING),
        composed=False,
        measured=False,
        provenance="the model is not trained",
        licences=(),
        weights=(),
        versions={},
        tune_images=0,
        tune_positives=(0,) * len(labels),
        **fields,
    )
