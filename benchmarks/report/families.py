"""Families that a reader tells rows apart by: what computed, and in what."""

from __future__ import annotations

from benchmarks.report.rows import Row

RUNTIMES = ("openvino", "onnxruntime", "tensorrt", "torch")
PRECISION_OF = {"fp32": "fp32", "f32": "fp32", "fp16": "fp16", "f16": "fp16", "bf16": "bf16", "int8": "int8"}
PRECISIONS = ("fp32", "bf16", "fp16", "int8")


def runtime_of(row: Row) -> str:
    """A word of ours, whatever the row says."""
    runtime = (row.runtime or "").lower()
    return next((known for known in RUNTIMES if runtime.startswith(known)), "other")


def precision_of(row: Row) -> str:
    """What the products were computed in, else the precision of the file (int8_x86 counts as int8)."""
    words = ((row.precision or "").lower(), (row.compute or "").lower())
    if words[0].startswith("int8"):
        return "int8"
    matches = (family for word in reversed(words) for kind, family in PRECISION_OF.items() if word.startswith(kind))
    return next(matches, "fp32")
