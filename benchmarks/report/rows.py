"""A row as the page shows it: its place in the report, and what is derived from the measured values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import schema

RUNTIMES = ("openvino", "onnxruntime", "tensorrt", "torch")
PRECISION_OF = {"fp32": "fp32", "f32": "fp32", "fp16": "fp16", "f16": "fp16", "bf16": "bf16", "int8": "int8"}
PRECISIONS = ("fp32", "bf16", "fp16", "int8")


@dataclass(frozen=True, kw_only=True)
class ReportRow(schema.Row):
    """`at` is the place in the report, which names the row in the page whatever its name holds."""

    at: int

    def value(self, path: str) -> Any:
        """Return the value at a dotted path such as end_to_end_ms.p90; None where an object on the path is None."""
        value: Any = self
        for name in path.split("."):
            value = None if value is None else getattr(value, name)
        return value

    def number(self, path: str) -> float | None:
        """Return the number at a path; None where it was not measured."""
        value = self.value(path)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None

    @property
    def engine(self) -> bool:
        """Whether it is no reference."""
        return self.kind == "engine"

    @property
    def in_bundle(self) -> bool:
        """Whether it is an engine of the student in the bundle."""
        return self.engine and self.model == schema.STUDENT

    @property
    def measured(self) -> bool:
        """Whether it was timed and scored."""
        return self.status == "measured"

    @property
    def latency(self) -> float | None:
        """The headline: end-to-end p90 in milliseconds."""
        return self.end_to_end_ms.p90 if self.end_to_end_ms else None

    @property
    def point(self) -> tuple[float, float]:
        """Latency and mAP of a plotted row."""
        return self.latency or 0.0, self.map or 0.0

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % of mAP."""
        return _pair(self.map_low, self.map_high)

    @property
    def drawn_interval(self) -> tuple[float, float] | None:
        """The interval of mAP where it contains the mAP."""
        ends, value = self.interval, self.map
        return ends if ends and value is not None and ends[0] <= value <= ends[1] else None

    @property
    def change(self) -> tuple[float, float] | None:
        """95 % of the difference to the float scores of the same model, paired."""
        return _pair(self.delta_low, self.delta_high)

    @property
    def versus_student(self) -> tuple[float, float] | None:
        """95 % of the difference to the float scores of the bundle's student, paired."""
        return self.change if self.model == schema.STUDENT else _pair(self.vs_student_low, self.vs_student_high)

    @property
    def gain(self) -> float:
        """By how much its mAP is above that of the float scores of its own model; 0 where it is not above."""
        return max(0.0, self.delta_map or 0.0)

    @property
    def elsewhere(self) -> str:
        """Where its mAP comes from if not from its own device; int8 differs between instruction sets."""
        source = self.map_from
        if self.map is None or source is None or source.device == self.device:
            return ""
        return f"mAP from {source.device}" + (f" ({source.instruction_set})" if source.instruction_set else "")

    @property
    def plotted(self) -> bool:
        """Whether it has a latency and a mAP."""
        return self.measured and bool(self.latency and self.latency > 0) and self.map is not None

    @property
    def failure(self) -> str:
        """Why it was not measured; empty where it was."""
        return "" if self.measured else ": ".join(filter(None, (self.status, self.reason)))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes the timing of this row doubtful."""
        unstable = "unstable" + (f" (its times differ by {100 * self.spread:.0f} %)" if self.spread is not None else "")
        return tuple(filter(None, (unstable if self.unstable else "", self._unsettled)))

    @property
    def states(self) -> tuple[str, ...]:
        """What a reader must know beside the name."""
        kind, unstable = "" if self.engine else "reference", "unstable" if self.unstable else ""
        return tuple(filter(None, (kind, self.failure, self.elsewhere, unstable, self._unsettled)))

    @property
    def _unsettled(self) -> str:
        return "unsettled" if self.settled is False else ""

    @property
    def runtime_family(self) -> str:
        """One of RUNTIMES or "other", whatever the row says."""
        runtime = (self.runtime or "").lower().replace(" ", "")
        return next((known for known in RUNTIMES if runtime.startswith(known)), "other")

    @property
    def precision_family(self) -> str:
        """What the products were computed in, else the precision of the file (int8_x86 counts as int8)."""
        of_file, computed = (self.precision or "").lower(), (self.compute or "").lower()
        words = [of_file] if of_file.startswith("int8") else [computed, of_file]
        return next((PRECISION_OF[kind] for word in words for kind in PRECISION_OF if word.startswith(kind)), "fp32")

    def label_ap(self, label: int) -> float | None:
        """Return the AP of a label."""
        return self.ap[label] if self.ap is not None and label < len(self.ap) else None


def read_rows(rows: Sequence[schema.Row]) -> list[ReportRow]:
    """Return measured engines from the fastest, then references, then what was built but not run, then failures."""
    return sorted(place(rows), key=lambda row: (_rank(row), row.latency or math.inf))


def place(rows: Sequence[schema.Row]) -> list[ReportRow]:
    """Return the rows in their order, each with its place."""
    return [ReportRow(at=at, **vars(row)) for at, row in enumerate(rows)]


def _pair(low: float | None, high: float | None) -> tuple[float, float] | None:
    return None if low is None or high is None else (low, high)


def _rank(row: ReportRow) -> int:
    if row.measured:
        return 0 if row.engine else 1
    return 3 if row.status == "failed" else 2
