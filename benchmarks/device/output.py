"""What `tagger.pyz bench` and `tagger.pyz scores` print: one definition for the device and for the machine that reads.

An annotation holds what a value must be besides its type; `benchmarks.parsing` checks it, the report's JSON schema
publishes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from benchmarks.device.timing import WarmUp
from export.backends import RuntimeInfo

LONGEST_TEXT, LONGEST_REASON = 300, 1000  # characters


@dataclass(frozen=True)
class Range:
    """A number from `low` to `high`, both included."""

    low: float
    high: float = math.inf

    def __call__(self, value: float) -> float:
        """Return the value; ValueError if it is out of range."""
        if not self.low <= value <= self.high:
            whole = "whole " if isinstance(value, int) else ""
            raise ValueError(f"expected a {whole}number of {self.low:g} to {self.high:g}, got {value!r:.60}")
        return value

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Callable[[Any], dict[str, Any]]) -> Any:
        ends = {"minimum": self.low, "maximum": self.high}
        return handler(core_schema) | {name: end for name, end in ends.items() if math.isfinite(end)}


def check_printable(value: str) -> str:
    """Return the text; ValueError if it is empty, too long or holds characters that cannot be printed."""
    if not 0 < len(value) <= LONGEST_TEXT or not value.isprintable():
        raise ValueError(f"expected up to {LONGEST_TEXT} printable characters, got {value[:60]!r}")
    return value


def to_one_line(value: str) -> str:
    """Return as much of a reason as fits, with a space for every character that cannot be printed."""
    return "".join(c if c.isprintable() else " " for c in value)[:LONGEST_REASON]


NonNegative = Annotated[float, Range(0.0)]
Fraction = Annotated[float, Range(0.0, 1.0)]
Count = Annotated[int, Range(0, 2**63 - 1)]
Celsius = Annotated[float, Range(-273.0, 1000.0)]
Text = Annotated[str, check_printable]
Reason = Annotated[str, to_one_line]


@dataclass(frozen=True, kw_only=True)
class PrintedRuntime(RuntimeInfo):
    """What a session runs on, as printed."""

    provider: Text
    device: Text
    compute: Text
    version: Text
    placed: Fraction


@dataclass(frozen=True, kw_only=True)
class Energy:
    """Energy per query and the meters that it comes from."""

    mj_per_query: NonNegative
    meter: Text


@dataclass(frozen=True, kw_only=True)
class Clock:
    """MHz before and after."""

    before: NonNegative | None
    after: NonNegative | None


@dataclass(frozen=True, kw_only=True)
class Temperature:
    """Degrees Celsius before and after."""

    before: Celsius | None
    after: Celsius | None


@dataclass(frozen=True, kw_only=True)
class SensorChanges:
    """Clock and temperature before and after a measurement."""

    clock_mhz: Clock
    temperature_c: Temperature


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Engine only; never comparable with the latencies.  `tried` holds batch, streams and images per second."""

    images_per_second: NonNegative
    batch: Count
    streams: Count
    tried: list[tuple[Count, Count, NonNegative]]


@dataclass(frozen=True, kw_only=True)
class Sustained(SensorChanges):
    """End-to-end latency in ms over `seconds` without a pause, and of the first and the last part of that time."""

    seconds: NonNegative
    p50: NonNegative
    p90: NonNegative
    p99: NonNegative
    first_p90: NonNegative
    last_p90: NonNegative


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Milliseconds of every query; the four parts of a query add up to end to end."""

    end_to_end_ms: list[NonNegative]
    decode_ms: list[NonNegative]
    resize_ms: list[NonNegative]
    infer_ms: list[NonNegative]
    post_ms: list[NonNegative]
    engine_ms: list[NonNegative]


@dataclass(frozen=True, kw_only=True)
class ChainMeasurement(SensorChanges):
    """One chain from image bytes to labels, measured in one process."""

    first_ms: NonNegative
    warm_up: WarmUp
    samples: Samples
    energy: Energy | None
    gpu_memory_mb: NonNegative | None
    sustained: Sustained | None


@dataclass(frozen=True, kw_only=True)
class Process(ChainMeasurement):
    """What one process measured of one engine; `sha256` and `bytes` are of the file that ran."""

    ran: PrintedRuntime
    sha256: Text
    bytes: Count
    built_here: bool
    pinned: list[Count] | None
    load_ms: NonNegative
    peak_rss_mb: NonNegative | None
    throughput: Throughput | None


@dataclass(frozen=True, kw_only=True)
class BenchOutput(Process):
    """All that `tagger.pyz bench` prints; what it adds to a process is for people and is not read by the bench."""

    engine: str
    why: str
    file: str
    images: int
    threads: int | None
    wrong: str | None
    machine: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ScoreResult:
    """What `tagger.pyz scores` prints of one engine: what ran, or the error."""

    ran: PrintedRuntime | None = None
    sha256: Text | None = None
    error: Reason | None = None
