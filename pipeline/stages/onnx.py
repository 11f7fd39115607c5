"""Stage onnx: the student as a float ONNX graph, compared with torch on real images of val."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import asdict

import numpy as np

from export.backends import OnnxRuntime, on_all_cores
from export.onnx.parity import check
from export.onnx.to_onnx import to_onnx
from mlkd.core.thresholds import Thresholds
from mlkd.models.checkpoint import load_labels, load_model
from mlkd.training import evaluate
from pipeline.recipe.schema import Recipe
from pipeline.runner.result import write_json
from pipeline.runner.stage import Context
from pipeline.stages.precisions import FP32
from pipeline.validation import Val

log = logging.getLogger(__name__)


def run(recipe: Recipe, made_by: str, context: Context) -> None:
    """Export the graph and compare its scores with those of the model."""
    tagger, labels = load_model(context.inputs["student"]), load_labels(context.inputs["student"])
    graph = to_onnx(tagger, labels, tagger.image_px, context.out / FP32, recipe_hash=made_by)
    aim = Thresholds()  # the recipe's would make a change of it a change of the graph
    val = dataclasses.replace(Val.read(recipe, context.inputs["data"]), aim=aim)
    expected = np.concatenate([evaluate.scores(tagger, half.pixels(val.image_px)) for half in val.halves])
    with on_all_cores(OnnxRuntime()).open_graph(graph) as session:
        parity = val.parity(expected, val.scores(session), val.thresholds(expected))
    write_json(context.out / "parity.json", asdict(parity))
    log.info(
        "onnx: scores differ by at most %.2g, %.3g %% of decisions flip, mAP %+.3f",
        parity.max_difference,
        100 * parity.flipped,
        100 * parity.delta_map,
    )
    check(parity, recipe.export.parity.fp32, FP32)
