"""Differences counted by hand, and gates that close."""

from __future__ import annotations

import numpy as np
import pytest

from export.parity import Parity, ParityLimits, check, compare, differences

REFERENCE = np.array([[0.9, 0.2], [0.6, 0.7], [0.1, 0.4], [0.3, 0.8]], dtype=np.float32)
TARGETS = np.array([[1, 0], [1, 1], [0, 0], [0, 1]], dtype=np.uint8)
THRESHOLDS = np.array([0.5, 0.5], dtype=np.float32)


def test_by_hand() -> None:
    candidate = REFERENCE.copy()
    candidate[1, 0] = 0.2  # falls below its threshold and below the negative at 0.3
    parity = differences(REFERENCE, candidate, TARGETS, THRESHOLDS)
    assert parity.max_difference == pytest.approx(0.4)
    assert parity.mean_difference == pytest.approx(0.4 / 8)
    assert parity.flipped == 1 / 8
    # label 0: positives at ranks 1 and 3, AP = (1 + 2/3) / 2; label 1 stays at 1
    assert parity.delta_map == pytest.approx(((1 + 2 / 3) / 2 + 1) / 2 - 1)


def test_equal_scores_differ_by_nothing() -> None:
    assert differences(REFERENCE, REFERENCE, TARGETS, THRESHOLDS) == Parity(0, 0, 0, 0)


def test_what_nobody_knows_does_not_move_map() -> None:
    candidate = REFERENCE.copy()
    candidate[1, 0] = 0.2
    known = np.ones(TARGETS.shape, dtype=bool)
    known[1, 0] = False
    assert differences(REFERENCE, candidate, TARGETS, THRESHOLDS, known).delta_map == 0.0
    assert differences(REFERENCE, candidate, TARGETS, THRESHOLDS, ~known | known).delta_map < 0.0


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_batches_cover_every_picture_once(batch: int) -> None:
    images = np.arange(4, dtype=np.uint8)[:, None, None, None] + np.zeros((1, 2, 2, 3), np.uint8)
    changed = REFERENCE[::-1].copy()
    parity = compare(
        lambda x: REFERENCE[x[:, 0, 0, 0]],
        lambda x: changed[x[:, 0, 0, 0]],
        images,
        TARGETS,
        THRESHOLDS,
        batch=batch,
    )
    assert parity == differences(REFERENCE, changed, TARGETS, THRESHOLDS)


@pytest.mark.parametrize(
    ("limit", "value"), [("max_difference", 0.3), ("mean_difference", 0.03), ("flipped", 0.1), ("map_loss", 0.01)]
)
def test_over_a_limit_is_an_error_that_names_it(limit: str, value: float) -> None:
    parity = Parity(max_difference=0.4, mean_difference=0.05, flipped=0.125, delta_map=-0.08)
    with pytest.raises(ValueError, match=rf"parity of int8: {limit}: expected at most {value}"):
        check(parity, ParityLimits(**{limit: value}), "int8")
    check(parity, ParityLimits(**{limit: 0.5}))


def test_a_better_map_is_no_loss() -> None:
    check(Parity(0, 0, 0, delta_map=0.2), ParityLimits(map_loss=0.0))


def test_scores_that_are_no_numbers() -> None:
    broken = REFERENCE.copy()
    broken[0, 0] = np.nan
    with pytest.raises(ValueError, match="candidate: expected finite scores"):
        differences(REFERENCE, broken, TARGETS, THRESHOLDS)


def test_limits_outside_the_unit() -> None:
    with pytest.raises(ValueError, match=r"parity.flipped: expected 0..1 or none, got 2"):
        ParityLimits(flipped=2)


def test_no_pictures() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        compare(lambda x: REFERENCE, lambda x: REFERENCE, np.empty((0, 2, 2, 3), np.uint8), TARGETS[:0], THRESHOLDS)
