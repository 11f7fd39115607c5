from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score

from mlkd import metrics


def drawn(seed: int, pictures: int = 200, labels: int = 6, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = rng.random((pictures, labels)) < 0.3
    scores = np.clip(0.3 * targets + 0.8 * rng.random((pictures, labels)), 0, 1)
    return (scores if levels is None else np.round(scores * levels) / levels), targets


@given(st.integers(0, 2**32 - 1), st.sampled_from([None, 1, 3, 20]))
@settings(max_examples=40, deadline=None)
def test_average_precision_equals_scikit_learn_ties_included(seed: int, levels: int | None) -> None:
    scores, targets = drawn(seed, pictures=40, levels=levels)
    targets[0] = True
    expected = [average_precision_score(targets[:, c], scores[:, c]) for c in range(6)]
    np.testing.assert_allclose(metrics.average_precision(scores, targets), expected, atol=1e-9)


def test_labels_without_positives_are_left_out_of_the_mean() -> None:
    scores, targets = drawn(0)
    targets[:, 2] = False
    per_label = metrics.average_precision(scores, targets)
    assert np.isnan(per_label[2])
    assert metrics.mean_average_precision(scores, targets) == pytest.approx(np.nanmean(per_label))


def test_unknown_decisions_count_for_nothing() -> None:
    scores, targets = drawn(1)
    known = np.random.default_rng(0).random(targets.shape) < 0.7
    expected = [average_precision_score(targets[known[:, c], c], scores[known[:, c], c]) for c in range(6)]
    np.testing.assert_allclose(metrics.average_precision(scores, targets, known), expected, atol=1e-9)


def test_f1_equals_scikit_learn_where_the_definitions_meet() -> None:
    scores, targets = drawn(2)
    thresholds = np.linspace(0.3, 0.7, 6)
    result = metrics.f1(scores, targets, thresholds)
    assert result.of1 == pytest.approx(f1_score(targets, scores >= thresholds, average="micro"))
    p, r = result.precision.mean(), result.recall.mean()
    assert result.cf1 == pytest.approx(2 * p * r / (p + r))


@pytest.mark.parametrize("levels", [None, 10])
def test_no_threshold_beats_the_tuned_one(levels: int | None) -> None:
    scores, targets = drawn(3, levels=levels)
    tuned = metrics.tune_thresholds(scores, targets)
    for c in range(6):
        at_tuned = f1_score(targets[:, c], scores[:, c] >= tuned[c])
        every = [f1_score(targets[:, c], scores[:, c] >= s) for s in np.unique(scores[:, c])]
        assert at_tuned == pytest.approx(max(every))


def test_threshold_of_a_label_without_positives_is_a_half() -> None:
    scores, targets = drawn(3)
    targets[:, 1] = False
    assert metrics.tune_thresholds(scores, targets)[1] == 0.5


def test_bootstrap_equals_resampling_by_hand() -> None:
    scores, targets = drawn(4)
    groups = np.arange(len(scores)) // 4
    rng = np.random.default_rng(7)
    values = []
    for _ in range(30):
        chosen = rng.integers(0, 50, 50)
        rows = np.concatenate([np.flatnonzero(groups == g) for g in chosen])
        values.append(metrics.mean_average_precision(scores[rows], targets[rows]))
    interval = metrics.bootstrap_map(scores, targets, groups, replicates=30, seed=7)
    np.testing.assert_allclose([interval.low, interval.high], np.quantile(values, [0.025, 0.975]), atol=1e-9)
    assert interval.value == pytest.approx(metrics.mean_average_precision(scores, targets))


def test_difference_of_equal_models_is_nothing_and_of_better_ones_is_positive() -> None:
    scores, targets = drawn(5)
    groups = np.arange(len(scores))
    same = metrics.bootstrap_difference(scores, scores, targets, groups, replicates=50)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    better = metrics.bootstrap_difference(np.clip(scores + targets, 0, 2), scores, targets, groups, replicates=50)
    assert better.low > 0


def test_bad_input_is_named() -> None:
    scores, targets = drawn(6)
    with pytest.raises(ValueError, match=r"expected equal shapes \(N, L\), got \(200, 5\) and \(200, 6\)"):
        metrics.average_precision(scores[:, :5], targets)
    scores[17, 2] = np.nan
    with pytest.raises(ValueError, match=r"got nan in rows \[17\]"):
        metrics.mean_average_precision(scores, targets)
