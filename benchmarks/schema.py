"""What a report holds: the one definition of report.json, from which its JSON schema is generated.

Fractions are in 0 to 1, latencies in milliseconds; None is what was not measured.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

from benchmarks.device.output import (
    Clock,
    Count,
    Energy,
    Fraction,
    NonNegative,
    Range,
    Sustained,
    Temperature,
    Throughput,
)
from benchmarks.parsing import parse

VERSION: Final = 3
Kind = Literal["engine", "reference"]
Status = Literal["measured", "built, not run", "failed"]
Difference = Annotated[float, Range(-1.0, 1.0)]


@dataclass(frozen=True, kw_only=True)
class Percentiles:
    """Milliseconds; `p90_bound` is MLPerf's early-stopping estimate at 99 % confidence, null with too few queries."""

    p50: NonNegative | None = None
    p90: NonNegative | None = None
    p99: NonNegative | None = None
    mean: NonNegative | None = None
    max: NonNegative | None = None
    p90_bound: NonNegative | None = None


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Medians of the parts of a query, in milliseconds."""

    decode: NonNegative | None = None
    resize: NonNegative | None = None
    infer: NonNegative | None = None
    post: NonNegative | None = None


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Of end to end; one edge more than counts."""

    edges_ms: list[float] = field(default_factory=list)
    counts: list[Count] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class LabelLoss:
    """AP of a label in float and as the engine ranks it."""

    label: str
    float_ap: Fraction
    ap: Fraction


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """How good decisions are: F1, precision and recall, as means over labels and of all decisions pooled."""

    cf1: Fraction | None = None
    of1: Fraction | None = None
    mean_precision: Fraction | None = None
    mean_recall: Fraction | None = None
    pooled_precision: Fraction | None = None
    pooled_recall: Fraction | None = None


@dataclass(frozen=True, kw_only=True)
class OperatingPoints:
    """Decisions at 0.5, at the engine's own thresholds, for three labels an image, for as many as are true."""

    half: Decisions
    tuned: Decisions
    top_3: Decisions
    oracle_k: Decisions


@dataclass(frozen=True, kw_only=True)
class ScoreSource:
    """Where the scores behind a mAP were computed; int8 differs between instruction sets."""

    device: str
    instruction_set: str | None = None


@dataclass(frozen=True, kw_only=True)
class EngineFacts:
    """What is known of an engine or a reference before it is measured."""

    name: str
    device: str
    kind: Kind
    model: str = "student"
    runtime: str | None = None
    precision: str | None = None
    threads: Count | None = None
    file: str | None = None
    sha256: str | None = None
    bytes: Count | None = None


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """How good scores of the test set are; deltas are paired with the float scores of the same model.

    The ends of a 95 % interval may be outside the range of the value where images are few.
    """

    map: Fraction | None = None
    map_low: float | None = None
    map_high: float | None = None
    delta_map: Difference | None = None
    delta_low: float | None = None
    delta_high: float | None = None
    flipped: Fraction | None = None
    worst_labels: list[LabelLoss] | None = None
    map_major: Fraction | None = None
    map_minor: Fraction | None = None
    cf1: Fraction | None = None
    of1: Fraction | None = None
    operating_points: OperatingPoints | None = None
    ap: list[Fraction | None] | None = None


@dataclass(frozen=True, kw_only=True)
class Measurement(Accuracy):
    """What measuring an engine on a device gives; `map_from` is where its scores were computed."""

    provider: str | None = None
    compute: str | None = None
    placed: Fraction | None = None
    pinned: list[Count] | None = None
    built_here: bool | None = None
    end_to_end_ms: Percentiles | None = None
    engine_ms: Percentiles | None = None
    parts_ms: Parts | None = None
    histogram: Histogram | None = None
    process_p50_ms: list[float] | None = None
    queries: Count | None = None
    spread: NonNegative | None = None
    unstable: bool | None = None
    settled: bool | None = None
    load_ms: NonNegative | None = None
    first_ms: NonNegative | None = None
    peak_rss_mb: NonNegative | None = None
    gpu_memory_mb: NonNegative | None = None
    energy: Energy | None = None
    clock_mhz: Clock | None = None
    temperature_c: Temperature | None = None
    throughput: Throughput | None = None
    sustained: Sustained | None = None
    map_from: ScoreSource | None = None


@dataclass(frozen=True, kw_only=True)
class Row(Measurement, EngineFacts):
    """One engine or reference on one device: what was measured, or why it was not."""

    status: Status = "built, not run"
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Device:
    """A machine of the bench; `machine` holds the facts that it gives about itself."""

    name: str
    status: Literal["measured", "failed"] = "measured"
    reason: str | None = None
    machine: dict[str, Any] = field(default_factory=dict)
    threads: Count | None = None
    power_mode: str | None = None


@dataclass(frozen=True, kw_only=True)
class DeviceResult:
    """What one device gave."""

    device: Device
    rows: list[Row] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """The check of the clock against OpenVINO's benchmark_app; `python_us` is what Python and the copies add."""

    benchmark_app_ms: float | None = None
    ours_ms: float | None = None
    python_us: float | None = None
    difference: float | None = None
    limit: float | None = None
    agrees: bool | None = None
    rounds: int | None = None
    engine: str | None = None
    null_error_us: float | None = None
    null_ok: bool | None = None


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """A difference of two mAPs with its paired 95 % interval."""

    difference: Difference | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class ModelValues:
    """mAP or AP of each trained model."""

    teacher: Fraction | None = None
    student: Fraction | None = None
    baseline: Fraction | None = None


@dataclass(frozen=True, kw_only=True)
class LabelValues(ModelValues):
    """AP of a label, and its positives in the test set."""

    label: str
    positives: Count | None = None


@dataclass(frozen=True, kw_only=True)
class Distillation(PairedDifference):
    """mAP of the trained models in float: student minus baseline, and `teacher_gain`, teacher minus student."""

    teacher_map: Fraction | None = None
    student_map: Fraction | None = None
    baseline_map: Fraction | None = None
    teacher_gain: PairedDifference = field(default_factory=PairedDifference)
    major: ModelValues = field(default_factory=ModelValues)
    minor: ModelValues = field(default_factory=ModelValues)
    labels: list[LabelValues] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Int8Gain:
    """The fastest int8 engine beside the fp32 graph in the same runtime, computed in f32 and in bf16."""

    name: str
    vs_f32: NonNegative | None = None
    vs_bf16: NonNegative | None = None
    kept_of_f32_map: NonNegative | None = None
    kept_of_bf16_map: NonNegative | None = None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What is wrong, and the numbers that show it."""

    claim: str
    numbers: str


@dataclass(frozen=True, kw_only=True)
class PageImage:
    """An image of the page; a box is label, x0, y0, x1, y1 in 0 to 1, and its role."""

    name: str
    jpeg_base64: str
    boxes: list[tuple[str, float, float, float, float, str | None]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class GridEntry:
    """An image of the grid: its true labels, and the labels above the thresholds of each engine, with scores."""

    image: str
    true: list[str]
    engines: dict[str, list[tuple[str, float]]]


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """An image that an engine gets wrong in one label."""

    image: str
    kind: Literal["missed", "wrong"]
    score: Fraction | None = None
    threshold: float | None = None


@dataclass(frozen=True, kw_only=True)
class Mistakes:
    """What one engine gets wrong, by label."""

    engine: str | None = None
    labels: dict[str, list[Mistake]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DeviceVerdict:
    """Which engine to deploy on a measured device, without limits."""

    device: str
    engine: str | None
    why: str
    runner_up: str | None
    pareto_front: list[str]


@dataclass(frozen=True, kw_only=True)
class Report:
    """Report of a bench; the first of `devices` is the machine that ran it, `findings` are of the audit of the data."""

    schema: Literal[3]
    recipe: str = "bench"
    composed: bool | None = None
    labels: list[str] = field(default_factory=list)
    devices: list[Device] = field(default_factory=list)
    protocol: dict[str, str] = field(default_factory=dict)
    agreement: Agreement | None = None
    rows: list[Row] = field(default_factory=list)
    distillation: Distillation | None = None
    int8_gain: Int8Gain | None = None
    freezing: dict[str, Any] | None = None
    training: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    images: dict[str, PageImage] = field(default_factory=dict)
    grid: list[GridEntry] = field(default_factory=list)
    mistakes: Mistakes | None = None
    notes: list[str] = field(default_factory=list)
    verdict: list[DeviceVerdict] = field(default_factory=list)


def read_report(content: Mapping[str, Any]) -> Report:
    """Read the content of a report.json or bench.json; a missing optional field has its default.

    Raises:
        ValueError: The content has another schema or a value of another type.
    """
    if content.get("schema") != VERSION:
        raise ValueError(
            f"report: expected schema {VERSION}, got {content.get('schema')!r}; run bench again with this version"
        )
    try:
        return parse(Report, to_json(content), ranges=False)
    except ValueError as cause:
        raise ValueError(f"report: {cause}; run bench again") from None


def to_json(value: Any) -> Any:
    """Turn dataclasses into objects and nan and infinity into None, for which JSON has no word."""
    if dataclasses.is_dataclass(value):
        return {entry.name: to_json(getattr(value, entry.name)) for entry in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if hasattr(value, "item"):  # a number of numpy
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
