import math
from dataclasses import replace

import numpy as np
import pytest

from mlkd.core.intervals import Variance, difference_interval, influence
from mlkd.core.metrics import mean_average_precision
from pipeline.compare.page import _edges, _verdict
from pipeline.compare.statistics import Gain, Measured, Spread, difference, seed_variance
from pipeline.compare.table import Row, Table
from scripts.seed_simulation import simulate, simulate_many


def test_spread_by_hand() -> None:
    assert Spread.of([0.2, 0.4, 0.6]) == Spread(pytest.approx(0.4), pytest.approx(0.2))
    assert Spread.of([0.2, None]) == Spread(0.2, None)
    assert Spread.of([None]) is None


def test_difference_is_paired_by_seed_and_by_image() -> None:
    """Influences that both have cancel, however large they are; a seed that one of them lacks does not count."""
    swing = np.random.default_rng(0).normal(size=(100, 2))
    a = Measured({0: 0.5, 1: 0.7, 2: 0.1}, {0: swing, 1: -swing, 2: 3 * swing})
    b = Measured({0: 0.4, 1: 0.6}, {0: swing, 1: -swing})
    gain = difference(a, b, range(100))
    assert gain == Gain(pytest.approx(0.1), pytest.approx(0.1), pytest.approx(0.1), 2)
    assert difference(b, Measured({7: 0.1}, {7: swing}), range(100)) is None


@pytest.mark.parametrize(("seeds", "quantile"), [(2, 12.7062), (4, 3.1824), (11, 2.2281)])
def test_without_variance_of_images_it_is_the_paired_t_interval(seeds: int, quantile: float) -> None:
    """Quantiles of Student's t from a printed table."""
    gaps, constant = np.linspace(-0.1, 0.3, seeds), np.zeros((50, 2))
    a = Measured(dict(enumerate(0.5 + gaps)), dict.fromkeys(range(seeds), constant))
    b = Measured(dict.fromkeys(range(seeds), 0.5), dict.fromkeys(range(seeds), constant))
    gain = difference(a, b, range(50))
    assert gain is not None
    half = quantile * gaps.std(ddof=1) / math.sqrt(seeds)
    assert gain.value == pytest.approx(0.1)
    assert (gain.value - gain.low, gain.high - gain.value) == pytest.approx((half, half), rel=1e-4)


def test_with_one_seed_it_is_the_interval_of_the_images() -> None:
    rng = np.random.default_rng(1)
    targets, groups = rng.random((60, 3)) < 0.4, np.arange(60) // 3
    one, other = (targets * gain + rng.random((60, 3)) for gain in (0.4, 0.2))
    a, b = (
        Measured({5: mean_average_precision(scores, targets)}, {5: influence(scores, targets, groups)})
        for scores in (one, other)
    )
    expected = difference_interval(one, other, targets, groups)
    gain = difference(a, b, groups)
    assert gain == Gain(expected.value, pytest.approx(expected.low), pytest.approx(expected.high), 1)


def test_the_effect_of_images_on_single_seeds_counts_once() -> None:
    """Four seeds whose influences have nothing in common: images explain all that the seeds differ by."""
    influences = np.random.default_rng(2).normal(size=(4, 400, 1)) * [1, 1] / 400
    a = Measured(dict(enumerate(influences[..., 0].sum(1))), dict(enumerate(influences)))
    b = Measured(dict.fromkeys(range(4), 0.0), dict.fromkeys(range(4), np.zeros((400, 2))))
    gain = difference(a, b, range(400))
    assert gain is not None
    of_images = 1.95 * math.sqrt((influences[..., 0].mean(0) ** 2).sum())
    assert of_images <= (gain.high - gain.low) / 2 < 1.25 * of_images


@pytest.mark.parametrize("spread", [0.0, 0.02])
def test_intervals_cover_the_gain_of_the_method(spread: float) -> None:
    """A small form of scripts/seed_simulation.py."""
    result = simulate(seeds=3, draws=60, spread=spread, images=80, labels=5)
    assert 0.88 <= result.covers <= 1


def test_simultaneous_intervals_cover_all_differences_together() -> None:
    """A small form of scripts/seed_simulation.py; 0.95 is expected."""
    assert 0.85 <= simulate_many(methods=6, seeds=3, draws=40, spread=0.03, images=80, labels=5) <= 1


def test_methods_with_a_single_seed_are_not_judged() -> None:
    rows = [row_of("kd", Gain(0.1, 0.05, 0.15, 1)), row_of("mse", Gain(0.1, 0.05, 0.15, 2))]
    assert _verdict(Table(rows=tuple(rows), missing=(), machines=())) == [
        "Better than without a teacher: mse.",
        "Not judged, trained with one seed only: kd.",
    ]


def row_of(method: str, gain: Gain) -> Row:
    return Row(
        method=method, value=None, select_map={}, maps={}, map=None, parts={}, gains={"none": gain}, minutes=None,
    )  # fmt: skip


def test_methods_better_than_a_control_and_values_at_the_edge_are_named() -> None:
    better, equal = Gain(0.1, 0.05, 0.15, 2), Gain(0.1, -0.05, 0.15, 2)
    maps = replace(row_of("maps", better), gains={"none": better, "mld": better, "reviewkd": equal}, value=3.0)
    maps = replace(maps, select_map={"0.3": 0.1, "1": 0.1, "3": 0.2})
    middle = replace(maps, method="kd", value=1.0, gains={"none": equal})
    table = Table(rows=(maps, middle), missing=(), machines=())
    assert _verdict(table)[-1] == "Better than mld: maps."
    assert _edges(table) == ["At the edge of their grids, to be widened with compare.wider: maps 3."]
    assert _edges(replace(table, rows=(middle,))) == []


def test_the_intervals_of_several_comparisons_are_wider_by_the_quantile() -> None:
    """Quantiles of Student's t with 3 degrees: 3.1824 for 95 %, 5.8409 for 99 %, which five comparisons need."""
    a = Measured(dict(enumerate([0.4, 0.5, 0.6, 0.7])), dict.fromkeys(range(4), np.zeros((50, 2))))
    b = Measured(dict.fromkeys(range(4), 0.5), dict.fromkeys(range(4), np.zeros((50, 2))))
    one, five = (difference(a, b, range(50), comparisons=comparisons) for comparisons in (1, 5))
    assert one is not None
    assert five is not None
    assert (five.high - five.low) / (one.high - one.low) == pytest.approx(5.8409 / 3.1824, rel=1e-4)


def test_the_variance_between_seeds_is_pooled_over_methods() -> None:
    """By hand: deviations ±1 and -2, 0, 2 percent have 2 + 8 squares in 1 + 2 degrees of freedom."""
    nothing = dict.fromkeys(range(3), np.zeros((50, 2)))
    control = Measured({0: 0.5, 1: 0.5, 2: 0.5}, nothing)
    a = Measured({0: 0.59, 1: 0.61}, nothing)
    b = Measured({0: 0.48, 1: 0.5, 2: 0.52}, nothing)
    single = Measured({1: 0.9, 7: 0.1}, nothing)
    pooled = seed_variance([a, b, single], control)
    assert pooled == Variance(pytest.approx(10e-4 / 3), 3)
    gain = difference(a, control, range(50), between=pooled)
    assert gain is not None
    assert gain.value == pytest.approx(0.1)
    assert gain.high - gain.value == pytest.approx(3.1824 * math.sqrt(10e-4 / 3 / 2), rel=1e-4)
    assert seed_variance([single], control) is None
