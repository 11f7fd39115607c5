"""The graph of a bundle that is fastest in the browser, measured in Chromium."""

from __future__ import annotations

import json
import logging
import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export.bundle.description import DESCRIPTION
from export.errors import BundleError
from export.tagger.limits import LIMITS, graph_compute
from export.web.chromium import BrowserError, Chromium, find_program
from export.web.golden import write_golden
from export.web.server import Source, serve

_log = logging.getLogger(__name__)

TIMEOUT_S = 300.0
MEASURE = "return await (await import('./measure.js')).measure()"
UNMEASURED = "fp32"  # computed alike everywhere


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The name of the chosen model and why; medians in milliseconds, by model."""

    model: str
    why: str
    median_ms: Mapping[str, float]


def candidates(description: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The models that a browser can run: ONNX graphs for a processor.  Raises BundleError if there is none."""
    models = [one for one in description["models"] if (one["runtime"], one["device"]) == ("onnxruntime", "cpu")]
    if not models:
        raise BundleError(f"{DESCRIPTION}: expected an ONNX model for a CPU, got none; add one to export")
    return models


def name_model(description: Mapping[str, Any], name: str) -> Choice:
    """The choice of a model by its name.  Raises ValueError for an unknown one."""
    known = [model["name"] for model in candidates(description)]
    if name not in known:
        raise ValueError(f"--model: expected one of {', '.join(known)}, got {name!r}")
    return Choice(model=name, why="named by --model", median_ms={})


def choose(bundle: Path, description: Mapping[str, Any], page: Mapping[str, Path]) -> Choice:
    """Time the graphs in Chromium, in turn, and choose the fastest of those that give their golden scores.

    Without Chromium, that is the float32 graph; the choice says so.  `page` has the files of the page by name.
    """
    models, program = candidates(description), find_program()
    if program is None:
        model = next((one for one in models if one["precision"] == UNMEASURED), models[0])
        why = f"not measured, because there is no Chromium: {model['precision']}"
        _log.warning("%s; install chromium, or name one with --model", why)
        return Choice(model=model["name"], why=why, median_ms={})
    content = json.dumps({**description, "models": models}).encode()
    with tempfile.TemporaryDirectory() as name:
        golden = write_golden(bundle, Path(name))
        graphs = {one["file"]: bundle / one["file"] for one in models}
        report = _measure(program, bundle, {**page, **graphs, **golden, DESCRIPTION: content})
    return _fastest(description, report)


def _measure(program: str, bundle: Path, files: Mapping[str, Source]) -> dict[str, Any]:
    """What measure.js returns.  Raises BrowserError."""
    try:
        with serve(files) as address, Chromium(program, limit_s=TIMEOUT_S) as browser:
            report: dict[str, Any] = browser.open(address + "measure.html").run(MEASURE)
    except BrowserError as cause:
        raise BrowserError(
            f"{program}: expected scores and times of the graphs of {bundle}, got: {cause}; name a graph with --model"
        ) from None
    return report


def _fastest(description: Mapping[str, Any], report: Mapping[str, Any]) -> Choice:
    precisions = {one["name"]: one["precision"] for one in description["models"]}
    medians: dict[str, float] = {}
    wrong = []
    for result in report["results"]:
        name = result["name"]
        expected = np.array([one["scores"][name] for one in description["golden"]])
        limit = LIMITS[graph_compute(precisions[name])]
        actual = np.array(result["scores"], dtype=np.float64)
        if limit.allows(expected, actual):
            medians[name] = round(statistics.median(result["ms"]), 3)
        else:
            wrong.append(f"{name} has {limit.describe(expected, actual)}")
    if not medians:
        raise BundleError(
            f"expected a graph with its golden scores in {report['browser']}, got none: {'; '.join(wrong)}"
        )
    model = min(medians, key=lambda name: medians[name])
    others = [*(f"{name} {ms:.2f} ms" for name, ms in medians.items()), *wrong]
    why = f"fastest in {report['browser']}, one thread, medians: {', '.join(others)}"
    return Choice(model=model, why=why, median_ms=medians)
