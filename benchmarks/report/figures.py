"""Numbers as people read them: mAP times 100, milliseconds with three digits, a dash where nothing was measured."""

from __future__ import annotations

from typing import Any

from benchmarks.device.output import Throughput
from benchmarks.sections import Agreement

ABSENT = "–"
MINUS = "−"


def points(value: float | None) -> str:
    """mAP, AP or F1 as a fraction -> times 100 with one decimal."""
    return ABSENT if value is None else f"{100 * value:.1f}"


def signed(value: float | None, digits: int = 1) -> str:
    """A difference of fractions -> times 100 with its sign."""
    if value is None:
        return ABSENT
    text = f"{100 * value:+.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", MINUS)


def interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{points(low)} to {points(high)}".replace("-", MINUS)


def signed_interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{signed(low, digits=2)} to {signed(high, digits=2)}"


def milliseconds(value: float | None) -> str:
    """Three significant digits, without exponent: 0.0312, 3.12, 31.2, 312."""
    if value is None:
        return ABSENT
    if value >= 100:
        return f"{value:,.0f}"
    digits = 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:.{digits}f}"


def count(value: float | None) -> str:
    return ABSENT if value is None else f"{value:,.0f}"


def megabytes(size: float | None) -> str:
    """Bytes -> MB (10^6)."""
    return ABSENT if size is None else f"{size / 1e6:.1f}"


def percent(value: float | None) -> str:
    return ABSENT if value is None else f"{100 * value:.1f} %"


def share(value: float | None) -> str:
    """A small share as percent with two decimals; one that is there is never written as nothing."""
    if value is None:
        return ABSENT
    return "<0.01 %" if 0 < value < 5e-5 else f"{100 * value:.2f} %"


def small(value: float | None) -> str:
    """A difference of scores in 0..1 with three decimals; one that is there is never written as nothing."""
    if value is None:
        return ABSENT
    return "<0.001" if 0 < value < 5e-4 else f"{value:.3f}"


def times(ratio: float | None) -> str:
    if ratio is None:
        return ABSENT
    return f"{ratio:.0f}×" if ratio >= 10 else f"{ratio:.1f}×" if ratio >= 2 else f"{ratio:.2f}×"


def plain(value: Any) -> str:
    """Any fact of the machine or the protocol as one line."""
    if value is None or value == "":
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {plain(item)}" for key, item in value.items()) or ABSENT
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(item) for item in value) or ABSENT
    return f"{value:,.6g}" if isinstance(value, float) else str(value)


def between(before: float | None, after: float | None) -> str:
    """Two states of a sensor: 2,100 → 1,800."""
    return ABSENT if before is None and after is None else f"{count(before)} → {count(after)}"


def plural(value: float | None, word: str) -> str:
    return f"{count(value)} {word}{'' if value == 1 else 's'}"


def batching(throughput: Throughput) -> str:
    """The setting of a throughput."""
    return f"batch {count(throughput.batch)}, {plural(throughput.streams, 'stream')}"


def score(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.2f}"


def agreed(agreement: Agreement) -> str:
    """Compare the harness with benchmark_app on the same engine, in one sentence."""
    if agreement.difference is None:
        return ""
    times = f"{milliseconds(agreement.ours_ms)} ms here, {milliseconds(agreement.benchmark_app_ms)} ms there"
    agrees = "agrees with" if agreement.agrees else "DISAGREES with"
    null = agreement.null_error_us
    too_much = "" if agreement.null_ok in (None, True) else ", WHICH IS TOO MUCH"
    clock = "" if null is None else f"; an engine of known time is measured at most {null:.1f} µs off{too_much}"
    text = f"{agrees} benchmark_app on {agreement.engine}: {signed(agreement.difference)} % by OpenVINO's own clock "
    text += f"(limit {percent(agreement.limit)}; {times})"
    added = agreement.python_us
    return text + ("" if added is None else f", where Python and the copies take {added:.0f} µs of ours") + clock
