"""A made-up bench with the shape of a real one: an example for tests, no measurement."""

from __future__ import annotations

import base64
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

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
PARTS = {"decode": 0.82, "resize": 0.31, "post": 0.09}


def example_bench() -> dict[str, Any]:
    rows = [_engine(name, *values) for name, values in ENGINES.items()]
    rows += [_not_run("tensorrt-fp16-sm86", "fp16"), _not_run("tensorrt-int8-sm86", "int8"), _failed()]
    rows += [_reference("teacher-torch", "teacher", 41.0, 0.6036), _reference("student-torch", "student", 17.2, 0.5562)]
    teacher = [0.62 + 0.3 * math.sin(1.7 * i) * math.cos(0.6 * i) for i in range(len(LABELS))]
    return {
        "schema": 1,
        "recipe": "scenes",
        "composed": True,
        "labels": list(LABELS),
        "machine": {
            "cpu": "Example CPU @ 2.10 GHz",
            "cores": 2,
            "flags": ["avx2", "avx512_vnni", "amx_int8"],
            "memory_gib": 7.6,
            "os": "Debian GNU/Linux 12",
            "virtual": True,
            "governor": None,
        },
        "protocol": {
            "queries": "256 a process",
            "processes": "3, engines interleaved in seeded random order",
            "threads": "1, pinned",
            "warm-up": "until three windows agree within 2 %, 10 s at most",
        },
        "rows": rows,
        "distillation": {
            "teacher_map": 0.6036,
            "student_map": 0.5562,
            "baseline_map": 0.5371,
            "difference": 0.0191,
            "low": 0.0102,
            "high": 0.0283,
            "major": {"teacher": 0.7011, "student": 0.6605, "baseline": 0.6502},
            "minor": {"teacher": 0.4733, "student": 0.4201, "baseline": 0.3988},
            "labels": [
                {
                    "label": label,
                    "positives": 90 + 37 * i % 400,
                    "teacher": teacher[i],
                    "student": _student(teacher[i], i),
                    "baseline": _student(teacher[i], i) - 0.02 - 0.01 * math.cos(i),
                }
                for i, label in enumerate(LABELS)
            ],
        },
        "int8_gain": {
            "name": "openvino-int8",
            "vs_f32": 2.05,
            "vs_bf16": 1.38,
            "kept_of_f32_map": 0.9959,
            "kept_of_bf16_map": 0.9966,
        },
        "training": {
            "teacher": [
                {"epoch": i + 1, "bce": 0.4 / (i + 1), "select_map": 0.61 * (1 - 0.6 ** (i + 1)), "seconds": 51.0}
                for i in range(6)
            ],
            "student": [
                {"epoch": i + 1, "bce": 0.4 / (i + 1), "select_map": 0.57 * (1 - 0.66 ** (i + 1)), "seconds": 19.0}
                for i in range(8)
            ],
            "baseline": [
                {"epoch": i + 1, "bce": 0.4 / (i + 1), "select_map": 0.55 * (1 - 0.64 ** (i + 1)), "seconds": 17.0}
                for i in range(8)
            ],
        },
        "freezing": json.loads(Path(__file__).with_name("freezing.json").read_text(encoding="utf-8")),
        "grid": [_picture(i) for i in range(18)],
        "notes": [
            "An example for tests: these numbers were made up.",
            "TensorRT engines are built for SM86 and were not run here.",
        ],
    }


def _student(teacher: float, i: int) -> float:
    return max(0.02, teacher - 0.05 - 0.05 * math.sin(2.3 * i))


def _spread(p50: float) -> dict[str, float]:
    return {"p50": p50, "p90": p50 * 1.07, "p99": p50 * 1.31, "mean": p50 * 1.02, "max": p50 * 2.2}


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
        "images_per_second_batch8": 1150 / engine_p50,
        "peak_rss_mb": 118.0 + p50,
        "spread": 0.13 if name == "onnxruntime-int8" else 0.03,
        "unstable": name == "onnxruntime-int8",
        "settled": True,
        "map": accuracy,
        "map_low": accuracy - 0.011,
        "map_high": accuracy + 0.012,
        "delta_map": accuracy - 0.5562,
        "map_major": accuracy + 0.1,
        "map_minor": accuracy - 0.13,
        "cf1": 0.571,
        "of1": 0.604,
        "operating_points": {
            point: {
                "cf1": 0.55 - at / 100,
                "of1": 0.60 - at / 100,
                "mean_precision": 0.61,
                "mean_recall": 0.52,
                "pooled_precision": 0.66,
                "pooled_recall": 0.58,
            }
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
        "end_to_end_ms": None,
        "map": None,
        "ap": None,
    }


def _failed() -> dict[str, Any]:
    return {
        "name": "openvino-gpu",
        "kind": "engine",
        "model": "student",
        "runtime": "openvino 2026.4.1",
        "precision": "fp16",
        "status": "failed",
        "reason": "device GPU: expected a plugin, got none",
        "map": None,
    }


def _reference(name: str, model: str, p50: float, accuracy: float) -> dict[str, Any]:
    row = _engine("openvino-fp32", p50, p50 - 1.5, accuracy, 29_000_000 if model == "teacher" else 14_000_000)
    return {
        **row,
        "name": name,
        "kind": "reference",
        "model": model,
        "runtime": "torch 2.12.0",
        "images_per_second_batch8": None,
        "file": None,
    }


def _picture(i: int) -> dict[str, Any]:
    image = Image.new("RGB", (96, 96), (40 + 11 * i, 120 + 5 * i, 200 - 9 * i))
    draw = ImageDraw.Draw(image)
    draw.ellipse((12, 20, 70, 80), fill=(220 - 9 * i, 200, 60 + 9 * i))
    draw.rectangle((62, 8, 90, 34), fill=(250, 250 - 12 * i, 240))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=80)
    true = [LABELS[i], LABELS[(i * 7 + 3) % 30]]
    said = (
        [[true[0], 0.93 - 0.02 * i]]
        + ([[LABELS[(i + 11) % 30], 0.41]] if i % 3 == 0 else [])
        + ([[true[1], 0.61]] if i % 2 else [])
    )
    return {
        "jpeg_base64": base64.b64encode(data.getvalue()).decode(),
        "name": f"test/{i:05d}.png",
        "true": true,
        "engines": {"openvino-fp32": said, "openvino-int8": said[:1] if i % 5 == 0 else said},
        "boxes": [[true[0], 0.12, 0.2, 0.73, 0.83, "major"], [true[1], 0.64, 0.08, 0.94, 0.36, "minor"]],
    }


@pytest.fixture
def bench() -> dict[str, Any]:
    return example_bench()
