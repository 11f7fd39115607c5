"""Golden pictures of a bundle: a few of the validation pictures, and what every engine says of them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from export.backends import Session
from export.bundle.golden import choose_golden, write_golden
from mlkd.core.labels import Labels
from mlkd.data.prepared import read_split
from pipeline.recipe.schema import INT8, Recipe
from pipeline.stages.engines import runtime_of
from pipeline.validation import BATCH

FOLDER = "golden"
GRAPHS = (".onnx", ".xml")  # what any CPU computes; an engine of TensorRT is neither


def golden(
    recipe: Recipe, labels: Labels, data: Path, built: Path, engines: Sequence[Mapping[str, Any]], out: Path
) -> tuple[list[Path], Path]:
    """Write pictures of tune and what to expect of them to `out`; `engines` is what the folder `built` holds.

    Scores of int8 engines are computed in exact arithmetic: what this processor's kernels make of them holds for none
    with another instruction set.  A float engine that cannot run here has the scores of what its thresholds come from.
    """
    tune = read_split(data, "tune")
    with contextlib.ExitStack() as opened:
        sessions = {engine["name"]: opened.enter_context(_session(recipe, engine, built)) for engine in engines}
        pixels, first = tune.pixels(recipe.student.model.image_px), sessions[engines[0]["name"]]
        scores = np.concatenate([first(np.array(pixels[at : at + BATCH])) for at in range(0, len(tune), BATCH)])
        chosen = choose_golden(tune.files, scores, recipe.export.golden_pictures)
        files = [tune.files[row] for row in chosen]
        if not files:
            raise ValueError(
                f"golden pictures: expected one of the {len(tune)} of tune that can be read, got none, not even "
                f"{tune.files[0]}; put the pictures back where the data were read, and run again"
            )
        thresholds = {engine["name"]: engine["thresholds"] for engine in engines}
        return write_golden(
            files, recipe.student.model.image_px, out, sessions, labels=labels.names, thresholds=thresholds
        )


def _session(recipe: Recipe, engine: Mapping[str, Any], built: Path) -> Session:
    scored = built / engine["thresholds_of"]
    if engine["precision"] in INT8:
        graph = scored if scored.suffix in GRAPHS else built / engine["graph"]
        return runtime_of(graph).open_exact(graph)
    if engine["not_run"] is None:
        backend = next(one.backend for one in recipe.export.engines if one.name == engine["name"])
        return backend.open(built / engine["files"][0])
    return runtime_of(scored).open_graph(scored)
