import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from mlkd.core import metrics


def drawn(seed: int, images: int = 200, labels: int = 6, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = rng.random((images, labels)) < 0.3
    scores = np.clip(0.3 * targets + 0.8 * rng.random((images, labels)), 0, 1)
    return (scores if levels is None else np.round(scores * levels) / levels), targets


@given(st.integers(0, 2**32 - 1), st.sampled_from([None, 1, 3, 20]))
@settings(max_examples=40, deadline=None)
def test_average_precision_equals_scikit_learn_ties_included(seed: int, levels: int | None) -> None:
    scores, targets = drawn(seed, images=40, levels=levels)
    targets[0] = True
    expected = [average_precision_score(targets[:, c], scores[:, c]) for c in range(6)]
    np.testing.assert_allclose(metrics.average_precision(scores, targets), expected, atol=1e-9)


def test_labels_without_positives_are_left_out_of_the_mean() -> None:
    scores, targets = drawn(0)
    targets[:, 2] = False
    per_label = metrics.average_precision(scores, targets)
    assert np.isnan(per_label[2])
    assert metrics.mean_average_precision(scores, targets) == pytest.approx(np.nanmean(per_label))


def test_unknown_decisions_are_left_out() -> None:
    scores, targets = drawn(1)
    label_mask = np.random.default_rng(0).random(targets.shape) < 0.7
    expected = [average_precision_score(targets[label_mask[:, c], c], scores[label_mask[:, c], c]) for c in range(6)]
    np.testing.assert_allclose(metrics.average_precision(scores, targets, label_mask), expected, atol=1e-9)


def test_a_label_whose_positives_are_unknown_is_listed_and_left_out() -> None:
    scores, targets = drawn(1)
    targets[:, 4] = False
    label_mask = np.ones(targets.shape, dtype=bool)
    label_mask[:, 2] = ~targets[:, 2]
    assert metrics.labels_without_positives(targets) == (4,)
    assert metrics.labels_without_positives(targets, label_mask) == (2, 4)
    expected = np.mean([average_precision_score(targets[:, c], scores[:, c]) for c in (0, 1, 3, 5)])
    assert metrics.mean_average_precision(scores, targets, label_mask) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64])
def test_scores_of_any_type(dtype: type) -> None:
    scores, targets = drawn(8)
    scores = (100 * scores).astype(dtype)
    expected = [average_precision_score(targets[:, c], scores[:, c].astype(np.float64)) for c in range(6)]
    np.testing.assert_allclose(metrics.average_precision(scores, targets), expected, atol=1e-9)


def counted(decisions: np.ndarray, targets: np.ndarray, label_mask: np.ndarray) -> dict[str, float]:
    """Precision and recall by plain loops: means over labels with positives, and pooled."""
    labels, pooled = [], np.zeros(3)
    for c in range(targets.shape[1]):
        hit = chosen = true = 0
        for row in range(len(targets)):
            if label_mask[row, c]:
                hit += bool(decisions[row, c] and targets[row, c])
                chosen += bool(decisions[row, c])
                true += bool(targets[row, c])
        pooled += hit, chosen, true
        if true:
            labels.append((hit / chosen if chosen else 0.0, hit / true))
    p, r = np.mean(labels, axis=0)
    return {"cp": p, "cr": r, "cf1": 2 * p * r / (p + r), "op": pooled[0] / pooled[1], "or": pooled[0] / pooled[2],
            "of1": 2 * pooled[0] / (pooled[1] + pooled[2])}  # fmt: skip


def told(result: metrics.F1) -> dict[str, float]:
    return {"cp": result.mean_precision, "cr": result.mean_recall, "cf1": result.cf1, "op": result.pooled_precision,
            "or": result.pooled_recall, "of1": result.of1}  # fmt: skip


@pytest.mark.parametrize("levels", [None, 4])
@pytest.mark.parametrize("partly", [False, True])
def test_every_operating_point_equals_plain_loops(partly: bool, levels: int | None) -> None:
    scores, targets = drawn(9, levels=levels)
    targets[:, 3] = False
    label_mask = np.random.default_rng(1).random(targets.shape) < (0.6 if partly else 2)
    tuned = np.array([0.2, 0.4, 0.6, 0.8, 0.5, 0.3])
    best, oracle = (np.zeros(targets.shape, dtype=bool) for _ in range(2))
    for row in range(len(targets)):
        ranked = sorted(np.flatnonzero(label_mask[row]), key=lambda c: -scores[row, c])
        best[row, ranked[:3]] = True
        oracle[row, ranked[: sum(targets[row] & label_mask[row])]] = True
    found = metrics.operating_points(scores, targets, tuned, label_mask if partly else None)
    assert list(found) == ["half", "tuned", "top_3", "oracle_k"]
    for name, decisions in zip(found, (scores >= 0.5, scores >= tuned, best, oracle), strict=True):
        assert told(found[name]) == pytest.approx(counted(decisions, targets, label_mask), abs=1e-12)
    # as many decisions as there are positives: precision and recall are the same number
    assert found["oracle_k"].pooled_precision == pytest.approx(found["oracle_k"].pooled_recall)


def test_top_k_of_equal_scores_takes_exactly_k_and_no_unknown_label() -> None:
    chosen = metrics.top_k(np.full((2, 4), 0.5), 2)
    assert chosen.tolist() == [[True, True, False, False]] * 2
    label_mask = np.array([[False, True, False, True], [False, False, False, True]])
    assert metrics.top_k(np.full((2, 4), 0.5), 2, label_mask).tolist() == label_mask.tolist()
    assert metrics.top_k(np.full((2, 4), 0.5), [0, 9]).sum(1).tolist() == [0, 4]


def test_f1_without_positives_is_0_and_not_nan() -> None:
    scores, targets = drawn(3)
    result = metrics.f1(scores, np.zeros_like(targets), 0.5)
    assert set(told(result).values()) == {0.0}
    assert not result.precision.any()
    assert not metrics.f1(scores, targets, 2.0).of1


def test_bad_input_is_named() -> None:
    scores, targets = drawn(6)
    with pytest.raises(ValueError, match=r"expected equal shapes \(N, L\), got \(200, 5\) and \(200, 6\)"):
        metrics.average_precision(scores[:, :5], targets)
    with pytest.raises(ValueError, match=r"label_mask: expected the shape of the targets \(200, 6\), got \(200,\)"):
        metrics.f1(scores, targets, 0.5, np.ones(200))
    scores[17, 2] = np.nan
    with pytest.raises(ValueError, match=r"got nan in rows \[17\]"):
        metrics.mean_average_precision(scores, targets)
