"""Sections of a report besides its devices and rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from benchmarks.device.output import Count, Fraction, NonNegative, Range

Difference = Annotated[float, Range(-1.0, 1.0)]
Operation = Literal[
    "depthwise convolution", "1x1 convolution", "other convolution", "matrix product", "conversion", "rest"
]
HEAD: Final = "head"  # parts of an engine
CONVERSIONS: Final = "conversions"


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
class LabelChange(PairedDifference):
    """AP of a label on test, before and after training with corrections; None where the label was not known."""

    label: str
    positives: Count | None = None
    before: Fraction | None = None
    after: Fraction | None = None


@dataclass(frozen=True, kw_only=True)
class Continued(PairedDifference):
    """mAP in float of the student and of the model that it continues, over the labels that both know."""

    before_map: Fraction | None = None
    after_map: Fraction | None = None
    labels: list[LabelChange] = field(default_factory=list)


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
class SearchStudent(PairedDifference):
    """A student of the search in float on test; the difference is to its own training without a teacher.

    `model` names its rows: "student" is the one in the bundle.  `candidate` is its name in the search.
    """

    model: str
    candidate: str
    roles: list[str] = field(default_factory=list)
    image_px: Count
    parameters: Count | None = None
    multiply_adds: Count | None = None
    student_map: Fraction | None = None
    baseline_map: Fraction | None = None


@dataclass(frozen=True, kw_only=True)
class Screened:
    """A candidate of the search on a device: its fastest engine, timed before training.

    `kept` says whether the candidate is within the budget on all devices.  `select_map` is of the last rung of the race
    that trained it, after `epochs`; `reason` says why it went no further.
    """

    candidate: str
    device: str
    engine: str | None = None
    p90_ms: NonNegative | None = None
    megabytes: NonNegative | None = None
    kept: bool
    select_map: Fraction | None = None
    epochs: Count | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """A search: its budget, the students that it trained fully, and all candidates."""

    max_p90_ms: NonNegative | None = None
    max_mb: NonNegative | None = None
    students: list[SearchStudent] = field(default_factory=list)
    screen: list[Screened] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class PartTime:
    """One kind of operation in one part of an engine: its share of the layers' time.

    `multiply_adds` are those of one image in the float graph.
    """

    part: str
    operation: Operation
    share: Fraction
    multiply_adds: Count


@dataclass(frozen=True, kw_only=True)
class EngineTimes:
    """Where the time of an engine goes, from its runtime's profile; `reason` says why there is none.

    `profiled_ms` is the sum of its layers with profiling on, each the least of several runs.
    """

    engine: str
    profiled_ms: NonNegative | None = None
    parts: list[PartTime] = field(default_factory=list)
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class LayerTimes:
    """Profiles of the student's engines, the one to deploy first, on the machine that ran the bench."""

    head: str  # the kind of the student's head
    engines: list[EngineTimes]
