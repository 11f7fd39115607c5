"""The latency protocol: single stream, one query after the other, on the monotonic clock."""

from __future__ import annotations

import itertools
import math
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Item = TypeVar("Item")
Clock = Callable[[], int]
AGREE = 0.02  # three windows of the warm-up that are this close count as settled
UNSTABLE = 0.10  # processes, or halves of one, that differ by more than this are marked
WINDOW, WINDOW_S = 16, 0.1  # least queries and seconds of a window
CONFIDENCE = 0.99  # of the early-stopping estimate
BINS = 40  # most of a histogram


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
    query: Callable[[], object],
    *,
    cap_s: float,
    window: int = WINDOW,
    window_s: float = WINDOW_S,
    clock: Clock = time.perf_counter_ns,
) -> WarmUp:
    """Repeat `query` until the medians of the last three windows agree within 2 %, or for `cap_s` seconds.

    A window is at least `window` queries and at least `window_s` long: 16 queries of a 1 ms engine see too little of
    what else a machine does to have a steady median.
    """
    start = opened = now = clock()
    queries, times = 0, array("q")
    medians: list[float] = []
    while now - start < cap_s * 1e9:
        before = clock()
        query()
        now = clock()
        queries += 1
        times.append(now - before)
        if len(times) >= window and now - opened >= window_s * 1e9:
            medians.append(float(np.median(times)))
            if settled(medians):
                return WarmUp(True, queries, (now - start) / 1e9)
            opened, times = now, array("q")
    return WarmUp(False, queries, (now - start) / 1e9)


def settled(medians: Sequence[float]) -> bool:
    """Whether the last three windows agree within 2 %."""
    last = medians[-3:]
    return len(last) == 3 and max(last) - min(last) <= AGREE * min(last)


def time_queries(
    parts: Sequence[tuple[str, Callable[[Any], Any]]], inputs: Iterable[Any], clock: Clock = time.perf_counter_ns
) -> Samples:
    """Send each input through the named parts, one after the other; nothing else happens between two clock readings."""
    readings = array("q")  # of small integers: millions of queries fit in a small device
    for value in inputs:
        readings.append(clock())
        for _, part in parts:
            value = part(value)
            readings.append(clock())
    marks = np.frombuffer(readings, dtype=np.int64).reshape(-1, len(parts) + 1)
    steps = np.diff(marks, axis=1) / 1e6
    return Samples((marks[:, -1] - marks[:, 0]) / 1e6, {name: steps[:, i] for i, (name, _) in enumerate(parts)})


def repeated(
    items: Sequence[Item], queries: int, least_s: float = 0, clock: Clock = time.perf_counter_ns
) -> Iterator[Item]:
    """The items over and over: at least `queries` of them, and for at least `least_s` seconds from the first."""
    start = clock()
    for count, item in enumerate(itertools.cycle(items)):
        if count >= queries and clock() - start >= least_s * 1e9:
            return
        yield item


def summary(milliseconds: ArrayLike) -> dict[str, float | None]:
    """p50, p90, p99 (linear between samples), mean, max, and p90_bound."""
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
        "p90_bound": p90_bound(values),
    }


def p90_bound(milliseconds: ArrayLike) -> float | None:
    """MLPerf's early-stopping estimate of p90: with 99 % confidence the true p90 is no higher; None below 64 queries.

    The t-th largest of n samples, t being the most queries over p90 that n queries would have with a chance of at most
    1 %, tolerance 0.  MLPerf inference rules, appendix on early stopping (single stream); Reddi et al. 2020.
    """
    values = np.sort(np.asarray(milliseconds, dtype=np.float64))
    over = most_over(len(values), 0.1, 1 - CONFIDENCE)
    return float(values[-over]) if over else None


def most_over(queries: int, share: float, chance: float) -> int:
    """The largest t for which t or fewer of `queries` happen with at most `chance`, each having a probability `share`.

    0 where there is no such t above 0.
    """
    odds, largest = 0.0, -1
    while largest < queries:
        odds += _binomial(queries, largest + 1, share)
        if odds > chance:
            break
        largest += 1
    return max(largest, 0)


def _binomial(n: int, k: int, share: float) -> float:
    """P(k of n), by logarithms: 0.9 ** n is 0 for long runs."""
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(ways + k * math.log(share) + (n - k) * math.log1p(-share))


def histogram(milliseconds: ArrayLike, bins: int = BINS) -> dict[str, list[Any]]:
    """Counts between edges that are evenly spaced on a log scale from the least to the greatest sample (above 0)."""
    values = np.asarray(milliseconds, dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    edges = np.geomspace(low, high, (bins if high > low else 1) + 1)
    edges[0], edges[-1] = low, high  # rounding must not lose the outermost samples
    counts, _ = np.histogram(values, edges)
    return {"edges_ms": edges.tolist(), "counts": counts.tolist()}


def halves(milliseconds: ArrayLike) -> list[NDArray[np.float64]]:
    """Split the queries of a process into its first and its second half; fewer than two windows stay whole.

    Something else that a machine does during half of a measurement shows between them.
    """
    values = np.asarray(milliseconds, dtype=np.float64)
    return np.array_split(values, 2) if len(values) >= 2 * WINDOW else [values]


def spread(medians: Sequence[float]) -> float:
    """Range of the medians of parts of a measurement, relative to their median; over UNSTABLE the row is marked."""
    return float((max(medians) - min(medians)) / np.median(medians))
