"""Gains of distillation and int8, from scores of the test set and measured rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import Truth, role_map
from benchmarks.schema import Row
from benchmarks.sections import (
    Continued,
    Distillation,
    Int8Gain,
    LabelChange,
    LabelValues,
    ModelValues,
    PairedDifference,
)
from export.bundle.manifest import EngineEntry, Manifest
from mlkd.core.intervals import difference_interval
from mlkd.core.labels import Labels
from mlkd.core.metrics import average_precision, mean_average_precision
from pipeline.runner.result import read_json


def distillation(scores: Mapping[str, NDArray[np.float32]], truth: Truth, labels: Labels) -> Distillation:
    """Compare teacher, student and baseline by their test mAP, from their scores (N, L)."""
    targets, mask = truth.targets, truth.label_mask
    maps = {f"{net}_map": mean_average_precision(values, targets, mask) for net, values in scores.items()}
    by_label = {net: average_precision(values, targets, mask) for net, values in scores.items()}
    positives = targets.sum(0)
    return Distillation(
        **maps,
        **vars(paired_difference(scores["student"], scores["baseline"], truth)),
        teacher_gain=paired_difference(scores["teacher"], scores["student"], truth),
        major=_by_role(scores, truth, truth.major),
        minor=_by_role(scores, truth, truth.minor),
        labels=[
            LabelValues(
                label=name, positives=int(positives[index]), **{net: float(ap[index]) for net, ap in by_label.items()}
            )
            for index, name in enumerate(labels.names)
        ],
    )


def continued(
    before: NDArray[np.float32] | None, after: NDArray[np.float32], truth: Truth, labels: Labels
) -> Continued | None:
    """Compare a student with the model that it continues, from scores (N, L) on test; None without such a model.

    `before` is nan in the columns of labels that the model did not know.
    """
    if before is None:
        return None
    known = np.flatnonzero(~np.isnan(before).any(0)).tolist()
    total = _change(before, after, truth, known)
    changes = []
    for column, name in enumerate(labels.names):
        (ap,) = average_precision(after[:, [column]], truth.targets[:, [column]], _columns(truth.label_mask, [column]))
        change = _change(before, after, truth, [column]) if column in known else {}
        positives = truth.targets[:, column].sum()
        changes.append(LabelChange(**{"after": _number(ap), **change}, label=name, positives=int(positives)))
    maps = {f"{name}_map": total.pop(name) for name in ("before", "after")}
    return Continued(**maps, **total, labels=changes)


def _change(
    before: NDArray[np.float32], after: NDArray[np.float32], truth: Truth, columns: Sequence[int]
) -> dict[str, float | None]:
    """mAP of some labels before and after, and the paired difference."""
    targets, mask = truth.targets[:, columns], _columns(truth.label_mask, columns)
    maps = [mean_average_precision(scores[:, columns], targets, mask) for scores in (before, after)]
    interval = difference_interval(after[:, columns], before[:, columns], targets, truth.groups, label_mask=mask)
    values = {"before": maps[0], "after": maps[1], "difference": interval.value, "low": interval.low}
    return {name: _number(value) for name, value in {**values, "high": interval.high}.items()}


def _columns(label_mask: NDArray[np.bool_] | None, columns: Sequence[int]) -> NDArray[np.bool_] | None:
    return None if label_mask is None else label_mask[:, columns]


def _number(value: float) -> float | None:
    """None for nan: a label without positives has no AP."""
    return None if np.isnan(value) else float(value)


def paired_difference(first: NDArray[np.float32], second: NDArray[np.float32], truth: Truth) -> PairedDifference:
    """Return mAP(first) - mAP(second) on the test images, from their scores (N, L)."""
    interval = difference_interval(first, second, truth.targets, truth.groups, label_mask=truth.label_mask)
    return PairedDifference(difference=interval.value, low=interval.low, high=interval.high)


def _by_role(scores: Mapping[str, NDArray[np.float32]], truth: Truth, role: NDArray[np.uint8] | None) -> ModelValues:
    return ModelValues(
        **{net: role_map(values, truth.targets, role, truth.label_mask) for net, values in scores.items()}
    )


def int8_gain(manifest: Manifest, rows: Sequence[Row]) -> Int8Gain | None:
    """Compare the fastest int8 engine, engine alone, with its runtime's fp32 engines in f32 and in bf16.

    None where no int8 engine was measured.
    """
    measured = {row.name: row for row in rows if row.status == "measured"}
    known = [entry for entry in manifest.engines if entry.name in measured]
    quantized = [entry for entry in known if entry.precision.startswith("int8")]
    if not quantized:
        return None
    fastest = min(quantized, key=lambda entry: _engine_p50(measured[entry.name]))
    same = [entry for entry in known if entry.precision == "fp32" and _runtime(entry) == _runtime(fastest)]
    in_float = {entry.backend.get("compute", "f32"): measured[entry.name] for entry in same}
    int8 = measured[fastest.name]
    return Int8Gain(
        name=int8.name,
        vs_f32=_speed(int8, in_float.get("f32")),
        vs_bf16=_speed(int8, in_float.get("bf16")),
        kept_of_f32_map=_kept(int8, in_float.get("f32")),
        kept_of_bf16_map=_kept(int8, in_float.get("bf16")),
    )


def _speed(int8: Row, other: Row | None) -> float | None:
    return _engine_p50(other) / _engine_p50(int8) if other else None


def _kept(int8: Row, other: Row | None) -> float | None:
    return int8.map / other.map if int8.map is not None and other and other.map else None


def _engine_p50(row: Row) -> float:
    p50 = row.engine_ms.p50 if row.engine_ms else None
    assert p50 is not None, f"{row.name}: measured without its latency"
    return p50


def training(folder: Path) -> list[dict[str, Any]]:
    """The epochs of a net: {epoch, loss terms, select_map, seconds}."""
    epochs = read_json(folder / "history.json")
    return [{**epoch.pop("losses", {}), **epoch} for epoch in epochs]


def _runtime(entry: EngineEntry) -> tuple[Any, Any]:
    return entry.backend["kind"], entry.backend.get("device")
