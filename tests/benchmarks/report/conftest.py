"""A made-up bench with the shape of a real one: an example for tests, no measurement."""

from __future__ import annotations

import base64
import copy
import io
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from benchmarks.report import render, slides
from benchmarks.rows import ROW
from tests.helpers.chromium import PROGRAM, Chromium

LABELS = [
    *("airplane", "apple", "balloon", "bear", "bicycle", "bird", "boat", "bus", "butterfly", "cake", "car", "cat"),
    *("chair", "cow", "cup", "dog", "duck", "elephant", "fish", "flower", "frog", "guitar", "hat", "horse"),
    *("mushroom", "penguin", "ship", "train", "tree", "turtle"),
]

ENGINES = {  # p50 end to end, p50 in the engine, mAP, bytes
    "onnxruntime-fp32": (8.9, 7.4, 0.5561, 14_300_000),
    "onnxruntime-int8": (5.6, 4.1, 0.5472, 4_100_000),
    "openvino-fp32": (7.6, 6.1, 0.5561, 14_200_000),
    "openvino-bf16": (5.3, 3.8, 0.5557, 14_200_000),
    "openvino-int8": (3.9, 2.4, 0.5538, 4_300_000),
}
HERE, BOARD = "this machine", "board"
MEANS = {"mean_precision": 0.61, "mean_recall": 0.52, "pooled_precision": 0.66, "pooled_recall": 0.58}
PARTS = {"decode": 0.82, "resize": 0.31, "post": 0.09}


def example_bench() -> dict[str, Any]:
    rows = [_engine(name, *values) for name, values in ENGINES.items()]
    rows += [_not_run("tensorrt-fp16-sm86", "fp16"), _not_run("tensorrt-int8-sm86", "int8"), _failed()]
    rows += [_reference("teacher-torch", "teacher", 41.0, 0.6036), _reference("student-torch", "student", 17.2, 0.5562)]
    rows = [dict.fromkeys(ROW) | {"device": HERE, **row} for row in rows]
    teacher = [0.62 + 0.3 * math.sin(1.7 * i) * math.cos(0.6 * i) for i in range(len(LABELS))]
    distilled = [
        {
            "label": label,
            "positives": 90 + 37 * i % 400,
            "teacher": teacher[i],
            "student": _student(teacher[i], i),
            "baseline": _student(teacher[i], i) - 0.02 - 0.01 * math.cos(i),
        }
        for i, label in enumerate(LABELS)
    ]
    rest = _read("example.json")
    return {
        **rest,
        "labels": list(LABELS),
        "rows": rows,
        "distillation": {**rest["distillation"], "labels": distilled},
        "training": {
            "teacher": _epochs(6, 0.61, 51.0),
            "student": _epochs(8, 0.57, 19.0),
            "baseline": _epochs(8, 0.55, 17.0),
        },
        "freezing": _read("freezing.json"),
        "images": {f"p{i}": _image(i) for i in range(18)},
        "grid": [_grid(i) for i in range(18)],
    }


def _read(name: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))
    return facts


def _epochs(count: int, best: float, seconds: float) -> list[dict[str, float]]:
    return [
        {"epoch": i + 1, "bce": 0.4 / (i + 1), "select_map": best * (1 - 0.65 ** (i + 1)), "seconds": seconds}
        for i in range(count)
    ]


def _student(teacher: float, i: int) -> float:
    return max(0.02, teacher - 0.05 - 0.05 * math.sin(2.3 * i))


def _spread(p50: float) -> dict[str, float]:
    return {"p50": p50, "p90": p50 * 1.07, "p99": p50 * 1.31, "mean": p50 * 1.02, "max": p50 * 2.2, "p90_bound": None}


def _engine(name: str, p50: float, engine_p50: float, accuracy: float, size: int) -> dict[str, Any]:
    runtime, precision = name.split("-")
    return {
        "name": name,
        "kind": "engine",
        "model": "student",
        "runtime": {"openvino": "openvino 2026.4.1", "onnxruntime": "onnxruntime 1.30.1"}[runtime],
        "precision": precision,
        "provider": "CPU",
        "compute": precision,
        "threads": 1,
        "status": "measured",
        "reason": None,
        "file": f"engines/{name}.bin",
        "sha256": "ab" * 32,
        "bytes": size,
        "load_ms": 92.0 + p50,
        "first_ms": p50 * 3,
        "end_to_end_ms": _spread(p50),
        "engine_ms": _spread(engine_p50),
        "parts_ms": {**PARTS, "infer": engine_p50},
        "histogram": {"edges_ms": [p50 * (0.9 + i / 10) for i in range(5)], "counts": [40, 500, 200, 28]},
        "process_p50_ms": [p50, p50 * 1.01, p50 * 0.99],
        "queries": 768,
        "energy": {"mj_per_query": 12.34, "meter": "RAPL package"},
        "clock_mhz": {"before": 2100.0, "after": 1950.0},
        "temperature_c": {"before": None, "after": None},
        "throughput": {
            "images_per_second": 1150 / engine_p50,
            "batch": 8,
            "streams": 2,
            "tried": [[1, 1, 700 / engine_p50], [8, 2, 1150 / engine_p50]],
        },
        "peak_rss_mb": 118.0 + p50,
        "spread": 0.13 if name == "onnxruntime-int8" else 0.03,
        "unstable": name == "onnxruntime-int8",
        "settled": True,
        "map": accuracy,
        "map_low": accuracy - 0.011,
        "map_high": accuracy + 0.012,
        "delta_map": accuracy - 0.5562,
        "flipped": 0.0123,
        "map_from": {"device": HERE, "instruction_set": "avx512_vnni"},
        "map_major": accuracy + 0.1,
        "map_minor": accuracy - 0.13,
        "cf1": 0.571,
        "of1": 0.604,
        "operating_points": {
            point: {"cf1": 0.55 - at / 100, "of1": 0.60 - at / 100, **MEANS}
            for at, point in enumerate(("half", "tuned", "top_3", "oracle_k"))
        },
        "ap": [
            max(0.01, 0.5 + 0.3 * math.sin(1.7 * i) * math.cos(0.6 * i) - 0.04 * math.cos(3 * i))
            for i in range(len(LABELS))
        ],
    }


def _not_run(name: str, precision: str) -> dict[str, Any]:
    return {
        "name": name,
        "kind": "engine",
        "model": "student",
        "runtime": "tensorrt-rtx 1.7",
        "precision": precision,
        "status": "built, not run",
        "reason": "no NVIDIA GPU of compute capability 8.6 here",
        "bytes": 9_100_000,
        "file": f"engines/{name}.plan",
        "sha256": "cd" * 32,
    }


def _failed() -> dict[str, Any]:
    reason = "device GPU: expected a plugin, got none"
    known = {"name": "openvino-gpu", "kind": "engine", "model": "student", "runtime": "openvino 2026.4.1"}
    return {**known, "precision": "fp16", "status": "failed", "reason": reason}


def _reference(name: str, model: str, p50: float, accuracy: float) -> dict[str, Any]:
    row = _engine("openvino-fp32", p50, p50 - 1.5, accuracy, 29_000_000 if model == "teacher" else 14_000_000)
    return {
        **row,
        "name": name,
        "kind": "reference",
        "model": model,
        "runtime": "torch 2.12.0",
        "throughput": None,
        "file": None,
        "delta_map": 0.0,
    }


def _image(i: int) -> dict[str, Any]:
    image = Image.new("RGB", (96, 96), (40 + 11 * i, 120 + 5 * i, 200 - 9 * i))
    draw = ImageDraw.Draw(image)
    draw.ellipse((12, 20, 70, 80), fill=(220 - 9 * i, 200, 60 + 9 * i))
    draw.rectangle((62, 8, 90, 34), fill=(250, 250 - 12 * i, 240))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=80)
    true = _true(i)
    return {
        "jpeg_base64": base64.b64encode(data.getvalue()).decode(),
        "name": f"test/{i:05d}.png",
        "boxes": [[true[0], 0.12, 0.2, 0.73, 0.83, "major"], [true[1], 0.64, 0.08, 0.94, 0.36, "minor"]],
    }


def _true(i: int) -> list[str]:
    return [LABELS[i], LABELS[(i * 7 + 3) % 30]]


def _grid(i: int) -> dict[str, Any]:
    true = _true(i)
    said = (
        [[true[0], 0.93 - 0.02 * i]]
        + ([[LABELS[(i + 11) % 30], 0.41]] if i % 3 == 0 else [])
        + ([[true[1], 0.61]] if i % 2 else [])
    )
    return {
        "image": f"p{i}",
        "true": true,
        "engines": {"openvino-fp32": said, "openvino-int8": said[:1] if i % 5 == 0 else said},
    }


def add_board(bench: dict[str, Any]) -> None:
    """A second device that is slower and names some rows like the first, and a third that failed."""
    machine = {**bench["devices"][0]["machine"], "cpu": "Example ARM", "virtual": False}
    board = {"name": BOARD, "status": "measured", "reason": None, "machine": machine, "threads": 4, "power_mode": "15W"}
    lost = {"name": "lost", "status": "failed", "reason": "ssh: lost: no route", "machine": None, "threads": None}
    bench["devices"] += [board, {**lost, "power_mode": None}]
    for row in copy.deepcopy(bench["rows"][:5]):
        for key in ("end_to_end_ms", "engine_ms"):
            row[key] = {name: value and 6.5 * value for name, value in row[key].items()}
        row["histogram"]["edges_ms"] = [6.5 * edge for edge in row["histogram"]["edges_ms"]]
        bench["rows"].append({**row, "device": BOARD, "map_from": {"device": BOARD, "instruction_set": "neon"}})


@pytest.fixture(autouse=True)
def without_png(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the PNG, which takes most of the time of a report, except in the tests of the slides."""
    if not request.path.name.startswith("test_slides"):
        monkeypatch.setattr(slides, "rasterize", lambda svg: b"")


@pytest.fixture
def bench() -> dict[str, Any]:
    return example_bench()


@pytest.fixture
def fleet(bench: dict[str, Any]) -> dict[str, Any]:
    """The same bench with three devices."""
    add_board(bench)
    return bench


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the example with three devices; read only."""
    bench = example_bench()
    add_board(bench)
    out = tmp_path_factory.mktemp("rendered")
    render(bench, out)
    return out


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """Without the program a test is skipped, under CI it fails."""
    if PROGRAM is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("chromium missing: make system")
    chromium = Chromium(tmp_path_factory.mktemp("chromium"))
    yield chromium
    chromium.close()
