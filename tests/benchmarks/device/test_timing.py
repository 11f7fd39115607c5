import itertools
import math
import random
import statistics
import time

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.device import timing


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
    result = timing.warm_up(lambda: clock.wait(next(times)), cap_s=10, window=4, window_s=0, clock=clock)
    assert result == timing.WarmUp(settled=True, queries=20, seconds=pytest.approx(0.068))


def test_warm_up_gives_up_at_the_cap() -> None:
    clock = Ticking()
    times = itertools.count(1_000_000, 100_000)
    result = timing.warm_up(lambda: clock.wait(next(times)), cap_s=0.5, window=4, window_s=0, clock=clock)
    assert not result.settled
    assert 0.5 <= result.seconds < 0.51


def test_one_slow_query_does_not_unsettle_a_window() -> None:
    clock = Ticking()
    times = itertools.cycle([1_000_000] * 7 + [50_000_000])
    assert timing.warm_up(lambda: clock.wait(next(times)), cap_s=10, window=8, window_s=0, clock=clock).settled


def test_a_window_is_long_enough_for_short_queries() -> None:
    clock = Ticking()
    result = timing.warm_up(lambda: clock.wait(1_000_000), cap_s=10, clock=clock)
    assert result == timing.WarmUp(settled=True, queries=300, seconds=pytest.approx(0.3))
    assert timing.warm_up(lambda: clock.wait(20_000_000), cap_s=10, clock=clock).queries == 48


def test_queries_go_on_for_the_least_time_and_the_least_number() -> None:
    clock = Ticking()

    def sent(queries: int, least_s: float) -> list[str]:
        samples = []
        for item in timing.repeated(["a", "b", "c"], queries, least_s, clock):
            samples.append(item)
            clock.wait(10_000_000)
        return samples

    assert sent(4, 0) == ["a", "b", "c", "a"]
    assert len(sent(4, 0.2)) == 20
    assert len(sent(50, 0.2)) == 50


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
    found = timing.summary(values)
    assert found.pop("p90_bound") == timing.p90_bound(values)
    assert found == pytest.approx(expected, rel=1e-12)


def test_summary_of_one_query_and_of_none() -> None:
    assert set(timing.summary([2.5]).values()) == {2.5, None}
    with pytest.raises(ValueError, match="expected at least one query, got none; raise `queries`"):
        timing.summary([])


def test_spread_is_the_relative_range() -> None:
    assert timing.spread([10, 11, 9]) == pytest.approx(0.2)
    assert timing.spread([4.0]) == 0


@pytest.mark.parametrize("queries", [1, 43, 63, 64, 65, 100, 256, 768, 1024, 20_000])
def test_the_bound_takes_the_rank_that_the_binomial_gives(queries: int) -> None:
    over = [t for t in range(1, queries // 10 + 2) if binom.cdf(t, queries, 0.1) <= 0.01]
    values = np.random.default_rng(queries).permutation(queries).astype(float)
    expected = float(queries - max(over)) if over else None  # the t-th largest of 0..n-1
    assert timing.p90_bound(values) == expected


def test_the_bound_needs_the_queries_that_mlperf_asks_for() -> None:
    assert timing.p90_bound(range(63)) is None
    assert timing.p90_bound(range(64)) == 63


def test_the_bound_is_seldom_below_the_true_p90() -> None:
    rng = np.random.default_rng(0)
    true = -math.log(0.1)  # p90 of the exponential distribution
    bounds = np.array([timing.p90_bound(rng.exponential(size=256)) for _ in range(2000)])
    assert (bounds < true).mean() <= 0.01 + 3 * math.sqrt(0.01 * 0.99 / 2000)
    assert np.median(bounds) < 1.5 * true  # and it says something


def test_a_histogram_keeps_every_sample_in_bins_of_equal_ratio() -> None:
    values = np.random.default_rng(1).lognormal(size=500)
    found = timing.histogram(values)
    assert sum(found["counts"]) == 500
    assert len(found["edges_ms"]) == len(found["counts"]) + 1 == 41
    assert (found["edges_ms"][0], found["edges_ms"][-1]) == (values.min(), values.max())
    np.testing.assert_allclose(np.diff(np.log(found["edges_ms"])), np.log(values.max() / values.min()) / 40)
    third = [low <= value < high for value in values for low, high in [found["edges_ms"][3:5]]]
    assert found["counts"][3] == sum(third)
    assert timing.histogram([2.0, 2.0])["counts"] == [2]
