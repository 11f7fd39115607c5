from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from benchmarks.accuracy import ReferenceScores, Truth, measure_accuracy, role_map
from benchmarks.schema import Accuracy, LabelLoss
from mlkd.core.intervals import difference_interval, map_interval

LABELS = ["ant", "bee", "cat", "dog"]


def random_case(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    major = rng.random((60, 4)) < 0.2
    minor = rng.random((60, 4)) < 0.3
    targets = (major | minor).astype(np.uint8)
    scores = np.clip(0.4 * targets + rng.random((60, 4)) * 0.7, 0, 1).astype(np.float32)
    return scores, targets, major.astype(np.uint8), minor.astype(np.uint8)


def truth_of(targets: np.ndarray, **roles: np.ndarray) -> Truth:
    names = [Path(f"{i}.jpg") for i in range(len(targets))]
    return Truth(files=names, targets=targets, groups=np.arange(len(targets)) // 2, **roles)


@pytest.mark.parametrize("seed", range(3))
def test_role_map_drops_images_with_the_other_role_only(seed: int) -> None:
    scores, targets, major, minor = random_case(seed)
    expected = []
    for label in range(4):
        kept = [row for row in range(60) if major[row, label] or not minor[row, label]]
        expected.append(average_precision_score(major[kept, label], scores[kept, label]))
    assert role_map(scores, targets, major) == pytest.approx(np.mean(expected), abs=1e-12)


def test_a_perfect_major_and_a_hopeless_minor_are_told_apart() -> None:
    targets = np.array([[1], [1], [0], [0]], dtype=np.uint8)
    major, minor = np.array([[1], [0], [0], [0]]), np.array([[0], [1], [0], [0]])
    scores = np.array([[0.9], [0.1], [0.5], [0.4]], dtype=np.float32)
    result = measure_accuracy(scores, truth_of(targets, major=major, minor=minor), [0.5], labels=["a"])
    assert result.map_major == 1.0
    assert result.map_minor == pytest.approx(1 / 3)


def test_all_fields_against_scikit_learn() -> None:
    scores, targets, major, minor = random_case(7)
    result = measure_accuracy(scores, truth_of(targets, major=major, minor=minor), [0.6] * 4, labels=LABELS)
    by_label = [average_precision_score(targets[:, i], scores[:, i]) for i in range(4)]
    assert result.ap == pytest.approx(by_label)
    assert result.map == pytest.approx(np.mean(by_label))
    assert result.map_low < result.map < result.map_high
    assert 0 < result.cf1 < 1
    tuned = result.operating_points.tuned
    assert (tuned.cf1, tuned.of1) == (result.cf1, result.of1)
    best = np.argsort(-scores, axis=1)[:, :3]
    found = np.take_along_axis(targets, best, axis=1).sum()
    assert result.operating_points.top_3.pooled_precision == pytest.approx(found / best.size)
    assert result.operating_points.top_3.pooled_recall == pytest.approx(found / targets.sum())
    oracle = result.operating_points.oracle_k
    assert oracle.pooled_precision == pytest.approx(oracle.pooled_recall)


def test_what_is_unknown_is_none_and_not_nan() -> None:
    targets = np.array([[1, 0], [0, 0]], dtype=np.uint8)
    result = measure_accuracy(
        np.array([[0.9, 0.1], [0.2, 0.3]], dtype=np.float32),
        truth_of(targets),
        [0.5, 0.5],
        labels=["a", "b"],
    )
    assert result.ap == [1.0, None]
    assert result.map_major is None
    assert result.map_minor is None


def test_a_truth_of_unequal_lengths_is_refused() -> None:
    with pytest.raises(ValueError, match="minor: expected 2 rows, one an image, got 3"):
        truth_of(np.zeros((2, 1), dtype=np.uint8), minor=np.zeros((3, 1), dtype=np.uint8))


def test_what_nobody_knows_counts_for_nothing() -> None:
    scores, targets, major, minor = random_case(3)
    label_mask = np.random.default_rng(0).random(targets.shape) < 0.7

    def measured(lies: bool) -> Accuracy:
        told = np.where(label_mask, targets, 1 - targets if lies else targets).astype(np.uint8)
        roles = {"major": np.where(label_mask, major, 1 - major), "minor": np.where(label_mask, minor, 1 - minor)}
        roles = roles if lies else {"major": major, "minor": minor}
        return measure_accuracy(scores, truth_of(told, label_mask=label_mask, **roles), [0.6] * 4, labels=LABELS)

    assert measured(lies=True) == measured(lies=False)
    by_label = [average_precision_score(targets[label_mask[:, i], i], scores[label_mask[:, i], i]) for i in range(4)]
    assert measured(lies=False).ap == pytest.approx(by_label)


def test_differences_from_the_float_model_are_paired() -> None:
    scores, targets, _, _ = random_case(5)
    noise = np.random.default_rng(1).normal(0, 0.05, scores.shape)
    worse = np.clip(scores + noise, 0, 1).astype(np.float32)
    worse[:, 2] = 1 - worse[:, 2]  # one label is lost
    truth = truth_of(targets)
    compared = {"reference": ReferenceScores(scores, np.array([0.5, 0.5, 0.5, 0.6])), "labels": LABELS}
    result = measure_accuracy(worse, truth, [0.6, 0.5, 0.5, 0.5], **compared)
    expected = difference_interval(worse, scores, targets, truth.groups)
    got = [result.delta_map, result.delta_low, result.delta_high]
    assert got == pytest.approx([expected.value, expected.low, expected.high])
    own = map_interval(worse, targets, truth.groups)
    assert [result.map_low, result.map_high] == pytest.approx([own.low, own.high])
    flips = sum(
        (worse[row, label] >= [0.6, 0.5, 0.5, 0.5][label]) != (scores[row, label] >= [0.5, 0.5, 0.5, 0.6][label])
        for row in range(60)
        for label in range(4)
    )
    assert result.flipped == pytest.approx(flips / 240)
    before = [average_precision_score(targets[:, i], scores[:, i]) for i in range(4)]
    after = [average_precision_score(targets[:, i], worse[:, i]) for i in range(4)]
    lost = sorted((i for i in range(4) if after[i] < before[i]), key=lambda i: after[i] - before[i])
    assert [loss.label for loss in result.worst_labels] == [LABELS[i] for i in lost]
    assert result.worst_labels[0] == LabelLoss(
        label="cat", float_ap=pytest.approx(before[2]), ap=pytest.approx(after[2])
    )


def test_the_difference_to_the_student_is_paired_with_its_float_scores() -> None:
    scores, targets, _, _ = random_case(5)
    student = np.clip(scores + np.random.default_rng(1).normal(0, 0.2, scores.shape), 0, 1).astype(np.float32)
    truth = truth_of(targets)
    compared = {"labels": LABELS, "reference": ReferenceScores(scores, np.full(4, 0.5, np.float32))}
    result = measure_accuracy(scores, truth, [0.5] * 4, **compared, student=student)
    expected = difference_interval(scores, student, targets, truth.groups)
    assert [result.vs_student_low, result.vs_student_high] == pytest.approx([expected.low, expected.high])
    assert result.delta_low == result.delta_high == 0  # to its own model
    alone = measure_accuracy(scores, truth, [0.5] * 4, **compared)
    assert (alone.vs_student_low, alone.vs_student_high) == (None, None)


def test_the_float_model_itself_has_lost_nothing() -> None:
    scores, targets, _, _ = random_case(6)
    compared = {"reference": ReferenceScores(scores, np.array([0.5] * 4)), "labels": LABELS}
    result = measure_accuracy(scores, truth_of(targets), [0.5] * 4, **compared)
    assert (result.delta_map, result.delta_low, result.delta_high, result.flipped) == (0, 0, 0, 0)
    assert result.worst_labels == []


def test_decisions_that_nobody_can_judge_do_not_count_as_flipped() -> None:
    scores, targets, _, _ = random_case(8)
    label_mask = np.ones(targets.shape, dtype=bool)
    label_mask[:30] = False
    other = scores.copy()
    other[:30] = 1 - other[:30]
    compared = {"reference": ReferenceScores(scores, np.array([0.5] * 4)), "labels": LABELS}
    assert measure_accuracy(other, truth_of(targets, label_mask=label_mask), [0.5] * 4, **compared).flipped == 0


def test_no_more_than_five_labels_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = np.tile([[1], [0]], (1, 8)).astype(np.uint8)
    good, bad = np.tile([[0.9], [0.1]], (1, 8)).astype(np.float32), np.tile([[0.1], [0.9]], (1, 8)).astype(np.float32)
    compared = {"reference": ReferenceScores(good, np.array([0.5] * 8)), "labels": list("abcdefgh")}
    assert len(measure_accuracy(bad, truth_of(targets), [0.5] * 8, **compared).worst_labels) == 5


def test_images_that_share_any_name_depend_on_each_other() -> None:
    scores, targets, _, _ = random_case(5)
    groups = [(f"cut-out {at % 20}", f"background {at % 7}") for at in range(60)]
    truth = Truth(files=[Path(f"{at}.png") for at in range(60)], targets=targets, groups=groups)
    result = measure_accuracy(scores, truth, [0.5] * 4, labels=LABELS)
    expected = map_interval(scores, targets, groups)
    assert (result.map_low, result.map_high) == pytest.approx((expected.low, expected.high))
    alone = measure_accuracy(scores, truth_of(targets), [0.5] * 4, labels=LABELS)
    assert result.map_low != pytest.approx(alone.map_low)
