"""A report page of many engines and labels, and the time until Chromium has loaded it and run its script."""

from __future__ import annotations

import base64
import copy
import io
import json
import random
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image

from benchmarks.report import render, slides
from benchmarks.schema import read_report
from scripts.speed.ratio import Ratio, Way
from tests.helpers.chromium import PROGRAM, Chromium

RATIOS = (Ratio(what="A page of 200 engines × 500 labels opens, s", top=("page",), limit=2, at_least=False),)
EXAMPLE = Path(__file__).parents[2] / "tests/benchmarks/report/example.json"
GRID, LABELS_WITH_MISTAKES, MISTAKES = 18, 60, 6  # the most that a bench gives a page
IMAGES = GRID + LABELS_WITH_MISTAKES * MISTAKES
BINS = 40


def ways(folder: Path) -> dict[str, Way]:
    """Seconds in a browser that is started for each page; nothing without Chromium."""
    if PROGRAM is None:
        return {}
    written = write_page(folder)
    return {"page": lambda: opening_s(written)}


def large_bench(engines: int, labels: int) -> dict[str, Any]:
    """The example of the tests with so many measured engines, labels, and images of 128 pixels."""
    dice = random.Random(0)
    bench: dict[str, Any] = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    names = [f"label {number:03d}" for number in range(labels)]
    template = bench["rows"][0]
    bench["labels"] = names
    bench["rows"] = [_row(copy.deepcopy(template), number, labels, dice) for number in range(engines)]
    ap = {net: [dice.random() for _ in names] for net in ("teacher", "student", "baseline")}
    bench["distillation"]["labels"] = [
        {net: values[at] for net, values in ap.items()} | {"label": name, "positives": 90}
        for at, name in enumerate(names)
    ]
    bench["images"] = {f"p{number}": _image(number, names[number % labels]) for number in range(IMAGES)}
    said = {row["name"]: [[dice.choice(names), 0.9], [dice.choice(names), 0.6]] for row in bench["rows"]}
    bench["grid"] = [{"image": f"p{number}", "true": names[:2], "engines": said} for number in range(GRID)]
    wrong = [{"image": f"p{dice.randrange(IMAGES)}", "kind": "wrong", "score": 0.9, "threshold": 0.3} for _ in names]
    mistakes = {name: dice.sample(wrong, MISTAKES) for name in names[:LABELS_WITH_MISTAKES]}
    bench["mistakes"] = {"engine": bench["rows"][0]["name"], "labels": mistakes}
    return bench


def _row(row: dict[str, Any], number: int, labels: int, dice: random.Random) -> dict[str, Any]:
    runtime, precision = dice.choice(["onnxruntime", "openvino", "tensorrt"]), dice.choice(["fp32", "int8"])
    fast, accuracy = dice.uniform(1, 60), dice.uniform(0.45, 0.6)
    for key in ("end_to_end_ms", "engine_ms"):
        row[key] = {name: value and value * fast / row["end_to_end_ms"]["p90"] for name, value in row[key].items()}
    edges = np.geomspace(fast / 2, 2 * fast, BINS + 1).tolist()
    row["histogram"] = {"edges_ms": edges, "counts": [dice.randrange(1, 40) for _ in range(BINS)]}
    row["ap"] = [dice.random() for _ in range(labels)]
    row |= {"name": f"{runtime}-{precision}-{number}", "runtime": runtime, "precision": precision}
    return row | {"map": accuracy, "map_low": accuracy - 0.01, "map_high": accuracy + 0.01, "delta_map": 0.0}


def _image(number: int, label: str) -> dict[str, Any]:
    """Noise is what a JPEG is largest for; half of it is flat, as in a photograph."""
    pixels = np.random.default_rng(number).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    pixels[32:] = number % 256
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=80)
    return {
        "jpeg_base64": base64.b64encode(data.getvalue()).decode(),
        "name": f"test/{number:05d}.png",
        "boxes": [[label, 0.1, 0.2, 0.7, 0.8, "major"]],
    }


def write_page(folder: Path, engines: int = 200, labels: int = 500) -> Path:
    """Write the report of `large_bench`, without its PNG, and return the page."""
    with mock.patch.object(slides, "rasterize", return_value=b""):
        render(read_report(large_bench(engines, labels)), folder)
    return folder / "report.html"


def opening_s(page: Path) -> float:
    """Seconds from navigation until the page is complete, its script included, which is the last thing in it."""
    with Chromium() as browser:
        tab = browser.open(page, width=1280)
        return float(tab.run('return performance.getEntriesByType("navigation")[0].domComplete;')) / 1000
