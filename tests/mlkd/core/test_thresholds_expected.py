"""What is expected of tuned thresholds on other images, against loops that count."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlkd.core import metrics
from mlkd.core.thresholds import Thresholds, expected, tune

OWN = Thresholds(prior=0)
FLOOR = Thresholds(aim="precision", precision=0.6, prior=5)
Array = NDArray[Any]


def drawn(seed: int) -> tuple[Array, Array]:
    """200 images, labels from frequent to rare; the last but one has three positives, the last none."""
    rng = np.random.default_rng(seed)
    targets = rng.random((200, 6)) < np.geomspace(0.4, 0.02, 6)
    targets[:, -2:] = False
    targets[[5, 60, 150], -2] = True
    return np.clip(0.3 * targets + 0.8 * rng.random((200, 6)), 0, 1).astype(np.float32), targets


@pytest.mark.parametrize("config", [Thresholds(), FLOOR])
def test_each_fold_is_decided_by_thresholds_of_the_others(config: Thresholds) -> None:
    """With as many groups as folds each is one, whatever their order."""
    scores, targets = drawn(11)
    label_mask = np.random.default_rng(3).random(targets.shape) < 0.8
    groups = [f"group {row % 7 % 5}" for row in range(200)]
    precision, recall = expected(scores, targets, config, label_mask, groups)
    for c in range(6):
        hits = chosen = positives = 0
        for held in set(groups):
            others = [row for row in range(200) if groups[row] != held]
            limit = tune(scores[others], targets[others], config, label_mask[others])[c]
            for row in set(range(200)) - set(others):
                if label_mask[row, c]:
                    chosen += scores[row, c] >= limit
                    positives += targets[row, c]
                    hits += scores[row, c] >= limit and targets[row, c]
        assert precision[c] == pytest.approx(hits / chosen if chosen else math.nan, nan_ok=True)
        assert recall[c] == pytest.approx(hits / positives if positives else math.nan, nan_ok=True)
    assert math.isnan(recall[5])


def test_expected_does_not_flatter_rare_labels() -> None:
    """Scores that know nothing: four positives a label look good in sample, and far more like chance from outside."""
    rng = np.random.default_rng(0)
    scores, targets = rng.random((300, 60)), np.zeros((300, 60), dtype=bool)
    for label in range(60):
        targets[rng.choice(300, 4, replace=False), label] = True
    precision, _ = expected(scores, targets, OWN)
    in_sample = metrics.f1(scores, targets, tune(scores, targets, OWN)).precision
    chance = 4 / 300
    assert in_sample.mean() > 3 * chance
    assert abs(np.nanmean(precision) - chance) < (in_sample.mean() - chance) / 3


def test_every_fold_has_its_share_of_a_rare_label() -> None:
    """Tuned without its positives the rare label would have the other's threshold, and find nothing."""
    rows = np.arange(100)
    rare, other = np.isin(rows, [0, 5, 10, 15, 20]), rows % 2 == 1
    scores = np.stack([np.where(rare, 0.3, 0.1), np.where(other, 0.9, 0.8)], 1)
    precision, recall = expected(scores, np.stack([rare, other], 1), OWN)
    assert (precision.tolist(), recall.tolist()) == ([1.0, 1.0], [1.0, 1.0])


def test_precision_without_predictions_is_nan() -> None:
    scores, targets = drawn(3)
    assert np.isnan(expected(scores, targets, Thresholds(), groups=["one"] * 200)).all()
    never = np.where(targets, scores, 0.9).astype(np.float64)
    never[:, 4] = 0.0
    precision, recall = expected(never, targets, Thresholds(prior=1e9))
    assert math.isnan(precision[4])
    assert recall[4] == 0
    assert not np.isnan(precision[0])


def test_equal_images_give_equal_expectations() -> None:
    scores, targets = drawn(13)
    groups = [f"{row:03}" for row in range(200)]
    rows = np.random.default_rng(0).permutation(200)
    once = expected(scores, targets, Thresholds(), groups=groups)
    again = expected(scores[rows], targets[rows], Thresholds(), groups=[groups[row] for row in rows])
    for one, two in zip(once, again, strict=True):
        np.testing.assert_array_equal(one, two)


def test_bad_input_is_named() -> None:
    scores, targets = drawn(6)
    with pytest.raises(ValueError, match=r"expected equal shapes \(N, L\), got \(200, 5\) and \(200, 6\)"):
        expected(scores[:, :5], targets, Thresholds())
    with pytest.raises(ValueError, match="groups: expected one for each image, 200, got 3"):
        expected(scores, targets, Thresholds(), groups=["a", "b", "c"])
