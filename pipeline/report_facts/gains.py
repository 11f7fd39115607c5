"""What distillation gave and what int8 cost, from scores of the test set and measured rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import Truth, role_map
from export.bundle.manifest import EngineEntry, Manifest
from mlkd.core.intervals import difference_interval
from mlkd.core.labels import Labels
from mlkd.core.metrics import average_precision, mean_average_precision


def distillation(scores: Mapping[str, NDArray[np.float32]], truth: Truth, labels: Labels) -> dict[str, Any]:
    """Test mAP of teacher, student and baseline from their scores (N, L), and paired differences.

    `difference` is student minus baseline, `teacher_gain` teacher minus student, both with 95 % intervals.
    """
    student, baseline, targets, known = scores["student"], scores["baseline"], truth.targets, truth.label_mask
    gain = difference_interval(student, baseline, targets, truth.groups, label_mask=known)
    gap = difference_interval(scores["teacher"], student, targets, truth.groups, label_mask=known)
    by_label = {net: average_precision(values, targets, known) for net, values in scores.items()}
    positives = targets.sum(0)
    return {
        **{f"{net}_map": mean_average_precision(values, targets, known) for net, values in scores.items()},
        "difference": gain.value,
        "low": gain.low,
        "high": gain.high,
        "teacher_gain": {"difference": gap.value, "low": gap.low, "high": gap.high},
        "major": {net: role_map(values, targets, truth.major, known) for net, values in scores.items()},
        "minor": {net: role_map(values, targets, truth.minor, known) for net, values in scores.items()},
        "labels": [
            {"label": name, "positives": int(positives[at]), **{net: ap[at] for net, ap in by_label.items()}}
            for at, name in enumerate(labels.names)
        ],
    }


def int8_gain(manifest: Manifest, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """How much faster the fastest int8 engine is than the fp32 graph in the same runtime, engine alone, and its mAP.

    That graph computed in f32 and in bf16.  None where no int8 engine was measured.
    """
    measured = {row["name"]: row for row in rows if row["status"] == "measured"}
    known = [entry for entry in manifest.engines if entry.name in measured]
    quantized = [entry for entry in known if entry.precision.startswith("int8")]
    if not quantized:
        return None
    fastest = min(quantized, key=lambda entry: measured[entry.name]["engine_ms"]["p50"])
    int8, runtime = measured[fastest.name], _runtime(fastest)
    same = [entry for entry in known if entry.precision == "fp32" and _runtime(entry) == runtime]
    of = {entry.backend.get("compute", "f32"): measured[entry.name] for entry in same}
    gain: dict[str, Any] = {"name": int8["name"]}
    for what in ("f32", "bf16"):
        row = of.get(what)
        gain[f"vs_{what}"] = row and row["engine_ms"]["p50"] / int8["engine_ms"]["p50"]
        gain[f"kept_of_{what}_map"] = row and row["map"] and int8["map"] / row["map"]
    return gain


def training(folder: Path) -> list[dict[str, Any]]:
    """The epochs of a net: {epoch, loss terms, select_map, seconds}."""
    epochs = json.loads((folder / "history.json").read_text(encoding="utf-8"))
    return [{**epoch.pop("losses", {}), **epoch} for epoch in epochs]


def _runtime(entry: EngineEntry) -> tuple[Any, Any]:
    return entry.backend["kind"], entry.backend.get("device")
