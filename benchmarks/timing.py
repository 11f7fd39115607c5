"""The latency protocol: single stream, one query after the other, on the monotonic clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Clock = Callable[[], int]
AGREE = 0.02  # three windows of the warm-up that are this close count as settled
UNSTABLE = 0.10  # processes that differ by more than this are marked


@dataclass(frozen=True)
class WarmUp:
    """How the warm-up ended: `settled` is False where the cap cut it off."""

    settled: bool
    queries: int
    seconds: float


@dataclass(frozen=True)
class Samples:
    """Milliseconds (Q,) of every query, whole and by part; the parts of a query add up to the whole."""

    whole: NDArray[np.float64]
    parts: dict[str, NDArray[np.float64]]


def warm_up(
    query: Callable[[], object], *, cap_s: float, window: int = 16, clock: Clock = time.perf_counter_ns
) -> WarmUp:
    """Repeat `query` until the medians of the last three windows agree within 2 %, or for `cap_s` seconds."""
    start = now = clock()
    times: list[int] = []
    medians: list[float] = []
    while now - start < cap_s * 1e9:
        before = clock()
        query()
        now = clock()
        times.append(now - before)
        if len(times) % window == 0:
            medians.append(float(np.median(times[-window:])))
            if settled(medians):
                return WarmUp(True, len(times), (now - start) / 1e9)
    return WarmUp(False, len(times), (now - start) / 1e9)


def settled(medians: Sequence[float]) -> bool:
    """Whether the last three windows agree within 2 %."""
    last = medians[-3:]
    return len(last) == 3 and max(last) - min(last) <= AGREE * min(last)


def time_queries(
    parts: Sequence[tuple[str, Callable[[Any], Any]]], inputs: Iterable[Any], clock: Clock = time.perf_counter_ns
) -> Samples:
    """Send each input through the named parts, one after the other; nothing else happens between two clock readings."""
    readings: list[list[int]] = []
    for value in inputs:
        reading = [clock()]
        for _, part in parts:
            value = part(value)
            reading.append(clock())
        readings.append(reading)
    marks = np.asarray(readings, dtype=np.int64).reshape(-1, len(parts) + 1)
    steps = np.diff(marks, axis=1) / 1e6
    return Samples((marks[:, -1] - marks[:, 0]) / 1e6, {name: steps[:, i] for i, (name, _) in enumerate(parts)})


def summary(milliseconds: ArrayLike) -> dict[str, float]:
    """p50, p90, p99 (linear between samples), mean and max."""
    values = np.asarray(milliseconds, dtype=np.float64)
    if not values.size:
        raise ValueError("samples: expected at least one query, got none; raise `queries`")
    p50, p90, p99 = np.percentile(values, [50, 90, 99])
    return {
        "p50": float(p50),
        "p90": float(p90),
        "p99": float(p99),
        "mean": float(values.mean()),
        "max": float(values.max()),
    }


def spread(medians: Sequence[float]) -> float:
    """Range of the processes' medians, relative to their median; over UNSTABLE the row is marked."""
    return float((max(medians) - min(medians)) / np.median(medians))
