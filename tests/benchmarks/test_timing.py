from __future__ import annotations

import itertools
import random
import statistics
import time

import numpy as np
import pytest

from benchmarks import timing


class Ticking:
    """A clock that a test moves by hand, in ns."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def wait(self, ns: int) -> None:
        self.now += ns


def busy_wait(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


@pytest.mark.parametrize("wait_s", [0.0005, 0.003])
def test_a_null_engine_is_measured_right(wait_s: float) -> None:
    samples = timing.time_queries([("null", busy_wait)], [wait_s] * 40)
    best = samples.whole.min() / 1e3  # the minimum: other programs can only add to a busy wait
    assert wait_s <= best <= wait_s + max(0.01 * wait_s, 20e-6)


def test_parts_are_chained_and_add_up() -> None:
    clock = Ticking()

    def decode(value: int) -> str:
        clock.wait(2_000_000)
        return str(value)

    def infer(value: str) -> None:
        assert isinstance(value, str)
        clock.wait(int(value) * 1_000_000)

    samples = timing.time_queries([("decode", decode), ("infer", infer)], [1, 5, 3], clock)
    np.testing.assert_array_equal(samples.parts["decode"], [2, 2, 2])
    np.testing.assert_array_equal(samples.parts["infer"], [1, 5, 3])
    np.testing.assert_array_equal(samples.whole, [3, 7, 5])


def test_warm_up_ends_when_three_windows_agree() -> None:
    clock = Ticking()
    times = itertools.chain([9_000_000] * 4, [5_000_000] * 4, itertools.repeat(1_000_000))
    result = timing.warm_up(lambda: clock.wait(next(times)), cap_s=10, window=4, clock=clock)
    assert result == timing.WarmUp(settled=True, queries=20, seconds=pytest.approx(0.068))


def test_warm_up_gives_up_at_the_cap() -> None:
    clock = Ticking()
    times = itertools.count(1_000_000, 100_000)
    result = timing.warm_up(lambda: clock.wait(next(times)), cap_s=0.5, window=4, clock=clock)
    assert not result.settled
    assert 0.5 <= result.seconds < 0.51


def test_one_slow_query_does_not_unsettle_a_window() -> None:
    clock = Ticking()
    times = itertools.cycle([1_000_000] * 7 + [50_000_000])
    assert timing.warm_up(lambda: clock.wait(next(times)), cap_s=10, window=8, clock=clock).settled


@pytest.mark.parametrize(
    ("medians", "expected"),
    [([1, 1], False), ([100, 101, 102], True), ([100, 101, 102.1], False), ([9, 1, 1, 1], True), ([1, 1, 1, 9], False)],
)
def test_settled_looks_at_the_last_three(medians: list[float], expected: bool) -> None:
    assert timing.settled(medians) is expected


def test_summary_agrees_with_the_statistics_module() -> None:
    values = [random.Random(3).lognormvariate(1, 0.5) for _ in range(257)]
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    expected = {"p50": cuts[49], "p90": cuts[89], "p99": cuts[98], "mean": statistics.fmean(values), "max": max(values)}
    assert timing.summary(values) == pytest.approx(expected, rel=1e-12)


def test_summary_of_one_query_and_of_none() -> None:
    assert set(timing.summary([2.5]).values()) == {2.5}
    with pytest.raises(ValueError, match="expected at least one query, got none; raise `queries`"):
        timing.summary([])


def test_spread_is_the_relative_range() -> None:
    assert timing.spread([10, 11, 9]) == pytest.approx(0.2)
    assert timing.spread([4.0]) == 0
