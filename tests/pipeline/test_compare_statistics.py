from __future__ import annotations

import numpy as np
import pytest

from mlkd.bootstrap import resampled_map
from mlkd.metrics import mean_average_precision
from pipeline.compare.statistics import Gain, Measured, Spread, difference


def test_spread_by_hand() -> None:
    assert Spread.of([0.2, 0.4, 0.6]) == Spread(pytest.approx(0.4), pytest.approx(0.2))
    assert Spread.of([0.2, None]) == Spread(0.2, None)
    assert Spread.of([None]) is None


def test_difference_is_paired_by_seed_and_by_picture() -> None:
    """Draws that move together cancel, however far they move; a seed that one of them lacks counts for nothing."""
    swing = np.linspace(-0.3, 0.3, 100)
    a = Measured({0: 0.5, 1: 0.7, 2: 0.1}, {0: 0.5 + swing, 1: 0.7 - swing, 2: swing})
    b = Measured({0: 0.4, 1: 0.6}, {0: 0.4 + swing, 1: 0.6 - swing})
    found = difference(a, b, seed=0)
    assert found == Gain(pytest.approx(0.1), pytest.approx(0.1), pytest.approx(0.1), 2)
    assert difference(b, Measured({7: 0.1}, {7: swing}), seed=0) is None


def test_the_interval_tells_of_seeds_that_disagree() -> None:
    """No picture is in doubt here: 3 of 4 seeds gain 0.1, one loses 0.1; a mean of four drawn seeds is -0.1 to 0.1."""
    still = np.zeros(2000)
    a = Measured({n: 0.6 if n else 0.4 for n in range(4)}, {n: still + (0.6 if n else 0.4) for n in range(4)})
    b = Measured(dict.fromkeys(range(4), 0.5), dict.fromkeys(range(4), still + 0.5))
    found = difference(a, b, seed=3)
    assert found is not None
    assert found.value == pytest.approx(0.05)
    # the number of losing seeds among four drawn is binomial(4, 1/4): P(4) = 0.4 %, P(3 or more) = 5.1 %
    assert (found.low, found.high) == (pytest.approx(-0.05), pytest.approx(0.1))


def test_the_interval_equals_plain_loops() -> None:
    """Pictures and seeds drawn by hand, in the order in which they are drawn here: apart, though from one seed."""
    rng = np.random.default_rng(1)
    targets = rng.random((60, 3)) < 0.4
    scores = {name: [targets * gain + rng.random((60, 3)) for _ in range(2)] for name, gain in (("a", 0.4), ("b", 0.2))}
    groups, count = np.arange(60) // 3, 25
    both = [
        Measured(
            {seed: mean_average_precision(one, targets) for seed, one in enumerate(every)},
            {seed: resampled_map(one, targets, groups, replicates=count, seed=5) for seed, one in enumerate(every)},
        )
        for every in scores.values()
    ]
    found = difference(*both, seed=5)
    pictures, seeds = np.random.default_rng(5), np.random.default_rng([5, 1]).integers(0, 2, (count, 2))
    values = []
    for replicate in range(count):
        rows = [row for group in pictures.integers(0, 20, 20) for row in range(3 * group, 3 * group + 3)]
        gaps = []
        for seed in seeds[replicate]:
            a, b = (mean_average_precision(scores[name][seed][rows], targets[rows]) for name in ("a", "b"))
            gaps.append(a - b)
        values.append(sum(gaps) / 2)
    assert found is not None
    assert [found.low, found.high] == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=1e-9)
