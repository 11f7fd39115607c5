"""What a report holds: the one definition of report.json, from which its JSON schema is generated.

Fractions are in 0 to 1, latencies in milliseconds; None is what was not measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from benchmarks.device.output import (
    Clock,
    Count,
    Energy,
    Fraction,
    NonNegative,
    Sustained,
    Temperature,
    Throughput,
)
from benchmarks.parsing import parse, to_json
from benchmarks.sections import (
    Agreement,
    Continued,
    DeviceVerdict,
    Difference,
    Distillation,
    Finding,
    GridEntry,
    Int8Gain,
    LayerTimes,
    Mistakes,
    PageImage,
    SearchResult,
)

VERSION: Final = 3
STUDENT: Final = "student"  # the model of the bundle's rows
Kind = Literal["engine", "reference"]
Status = Literal["measured", "built, not run", "failed"]


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
class OperatingPoint:
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

    half: OperatingPoint
    tuned: OperatingPoint
    top_3: OperatingPoint
    oracle_k: OperatingPoint


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
    model: str = STUDENT
    runtime: str | None = None
    precision: str | None = None
    threads: Count | None = None
    file: str | None = None
    sha256: str | None = None
    bytes: Count | None = None


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """How good scores of the test set are; deltas are paired with the float scores of the same model.

    `vs_student_low` and `vs_student_high` are the paired interval of the difference to the float scores of the bundle's
    student; they are None for rows of that student, whose deltas say the same.
    The ends of a 95 % interval may be outside the range of the value where images are few.
    """

    map: Fraction | None = None
    map_low: float | None = None
    map_high: float | None = None
    delta_map: Difference | None = None
    delta_low: float | None = None
    delta_high: float | None = None
    vs_student_low: float | None = None
    vs_student_high: float | None = None
    flipped: Fraction | None = None
    worst_labels: list[LabelLoss] | None = None
    map_major: Fraction | None = None
    map_minor: Fraction | None = None
    cf1: Fraction | None = None
    of1: Fraction | None = None
    operating_points: OperatingPoints | None = None
    ap: list[Fraction | None] | None = None


@dataclass(frozen=True, kw_only=True)
class Row(Accuracy, EngineFacts):
    """One engine or reference on one device: what was measured, or why it was not."""

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
    map_from: ScoreSource | None = None  # where its scores were computed
    status: Status = "built, not run"
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class DeviceFacts:
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

    device: DeviceFacts
    rows: list[Row] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Report:
    """Report of a bench; the first of `devices` is the machine that ran it, `findings` are of the audit of the data."""

    schema: Literal[3]
    recipe: str = "bench"
    composed: bool | None = None
    labels: list[str] = field(default_factory=list)
    devices: list[DeviceFacts] = field(default_factory=list)
    protocol: dict[str, str] = field(default_factory=dict)
    agreement: Agreement | None = None
    rows: list[Row] = field(default_factory=list)
    distillation: Distillation | None = None
    continued: Continued | None = None
    search: SearchResult | None = None
    int8_gain: Int8Gain | None = None
    layer_times: LayerTimes | None = None
    freezing: dict[str, Any] | None = None
    training: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    images: dict[str, PageImage] = field(default_factory=dict)
    grid: list[GridEntry] = field(default_factory=list)
    mistakes: Mistakes | None = None
    notes: list[str] = field(default_factory=list)
    verdict: list[DeviceVerdict] = field(default_factory=list)


def read_report(content: Mapping[str, Any]) -> Report:
    """Read the content of a report.json or bench.json; ValueError for another schema or a value of another type."""
    schema = content.get("schema") if isinstance(content, Mapping) else type(content).__name__
    if schema != VERSION:
        raise ValueError(f"report: expected schema {VERSION}, got {schema!r}; run bench again with this version")
    try:
        return parse(Report, to_json(content), ranges=False)
    except ValueError as cause:
        raise ValueError(f"report: {cause}; run bench again") from None
