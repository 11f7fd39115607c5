from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from mlkd import bootstrap, metrics


def drawn(seed: int, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = rng.random((200, 6)) < 0.3
    scores = np.clip(0.3 * targets + 0.8 * rng.random((200, 6)), 0, 1)
    return (scores if levels is None else np.round(scores * levels) / levels), targets


def by_hand(scores: np.ndarray, targets: np.ndarray, known: np.ndarray, groups: np.ndarray, seed: int) -> list[float]:
    """scikit-learn on the rows that are drawn, again and again."""
    rng, count = np.random.default_rng(seed), groups.max() + 1
    values = []
    for _ in range(30):
        rows = np.concatenate([np.flatnonzero(groups == one) for one in rng.integers(0, count, count)])
        of_label = []
        for c in range(targets.shape[1]):
            counted = rows[known[rows, c]]
            if targets[counted, c].any():
                of_label.append(average_precision_score(targets[counted, c], scores[counted, c]))
        values.append(float(np.mean(of_label)))
    return values


@pytest.mark.parametrize("levels", [None, 1, 5])
@pytest.mark.parametrize("partly", [False, True])
def test_every_replicate_equals_scikit_learn_on_the_drawn_rows(partly: bool, levels: int | None) -> None:
    scores, targets = drawn(4, levels)
    targets[5:, 0] = False  # a label that some replicates lose
    known = np.random.default_rng(0).random(targets.shape) < (0.6 if partly else 2)
    groups = np.arange(200) // 4
    expected = by_hand(scores, targets, known, groups, seed=7)
    mask = known if partly else None
    found = bootstrap.resampled_map(scores, targets, groups, replicates=30, seed=7, known=mask)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    interval = bootstrap.bootstrap_map(scores, targets, groups, replicates=30, seed=7, known=mask)
    np.testing.assert_allclose([interval.low, interval.high], np.quantile(expected, [0.025, 0.975]), atol=1e-9)
    assert interval.value == pytest.approx(metrics.mean_average_precision(scores, targets, mask))


@pytest.mark.parametrize("partly", [False, True])
def test_a_difference_is_that_of_the_same_draws(partly: bool) -> None:
    (a, targets), (b, _) = drawn(4), drawn(5)
    known = np.random.default_rng(0).random(targets.shape) < (0.6 if partly else 2)
    groups = np.arange(200) // 2
    gaps = np.subtract(*(by_hand(scores, targets, known, groups, seed=3) for scores in (a, b)))
    mask = known if partly else None
    found = bootstrap.bootstrap_difference(a, b, targets, groups, replicates=30, seed=3, known=mask)
    np.testing.assert_allclose([found.low, found.high], np.quantile(gaps, [0.025, 0.975]), atol=1e-9)


def test_difference_of_equal_models_is_nothing_and_of_better_ones_is_positive() -> None:
    scores, targets = drawn(5)
    groups = np.arange(len(scores))
    same = bootstrap.bootstrap_difference(scores, scores, targets, groups, replicates=50)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    better = bootstrap.bootstrap_difference(np.clip(scores + targets, 0, 2), scores, targets, groups, replicates=50)
    assert better.low > 0


def test_without_any_positive_there_is_no_interval() -> None:
    scores, targets = drawn(6)
    found = bootstrap.bootstrap_map(scores, np.zeros_like(targets), np.arange(200), replicates=5)
    assert all(math.isnan(value) for value in (found.value, found.low, found.high))
