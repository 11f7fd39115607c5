"""Tuned thresholds, against loops that count."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from mlkd.core.thresholds import Thresholds, below_floor, tune

OWN = Thresholds(prior=0)
Array = NDArray[Any]


def drawn(seed: int, images: int = 200, labels: int = 6, levels: int | None = None) -> tuple[Array, Array]:
    """Labels from frequent to rare; the last but one has three positives, the last none."""
    rng = np.random.default_rng(seed)
    targets = rng.random((images, labels)) < np.geomspace(0.4, 0.02, labels)
    targets[:, -2:] = False
    targets[[5, 30, 55], -2] = True
    scores = np.clip(0.3 * targets + 0.8 * rng.random((images, labels)), 0, 1).astype(np.float32)
    return (scores if levels is None else (np.round(scores * levels) / levels).astype(np.float32)), targets


def floor(precision: float, prior: float = 0) -> Thresholds:
    return Thresholds(aim="precision", precision=precision, prior=prior)


def logit(score: Any) -> Any:
    return np.log(score) - np.log1p(-score)


def best_by_loops(pairs: list[tuple[float, bool]], config: Thresholds) -> float:
    """The lowest score it takes, and the next below, half-way."""
    scores = sorted({score for score, _ in pairs}, reverse=True)
    positives = sum(target for _, target in pairs)
    rated = []
    for score in scores:
        taken = [target for value, target in pairs if value >= score]
        rated.append((sum(taken) / len(taken), sum(taken), 2 * sum(taken) / (len(taken) + positives), -score))
    if config.precision is None:
        *_, lowest = max(rated, key=lambda one: (one[2], -one[3]))
    else:
        wanted = min(config.precision, max(one[0] for one in rated))
        *_, lowest = max((one for one in rated if one[0] >= wanted), key=lambda one: (one[1], -one[3]))
    at = scores.index(-lowest)
    return (scores[at] + (scores[at + 1] if at + 1 < len(scores) else 0.0)) / 2


def tuned_by_loops(scores: Array, targets: Array, config: Thresholds, label_mask: Array) -> list[float]:
    def pairs(labels: range) -> list[tuple[float, bool]]:
        rows = range(len(scores))
        return [(float(scores[r, c]), bool(targets[r, c])) for r in rows for c in labels if label_mask[r, c]]

    pooled, found = best_by_loops(pairs(range(scores.shape[1])), config), []
    for label in range(scores.shape[1]):
        own = pairs(range(label, label + 1))
        positives = sum(target for _, target in own)
        share = positives / (positives + config.prior) if positives else 0.0
        one = best_by_loops(own, config) if positives else pooled
        mixed = share * math.log(one / (1 - one)) + (1 - share) * math.log(pooled / (1 - pooled))
        mixed = 1 / (1 + math.exp(-mixed))
        if config.precision is not None:
            taken = [target for score, target in own if score >= mixed]
            mixed = mixed if taken and sum(taken) / len(taken) >= config.precision else one
        found.append(mixed)
    return found


@pytest.mark.parametrize("levels", [None, 10])
@pytest.mark.parametrize("config", [OWN, Thresholds(), Thresholds(prior=40), floor(0.6), floor(0.6, 5), floor(0.99)])
def test_thresholds_are_those_of_the_loops(config: Thresholds, levels: int | None) -> None:
    scores, targets = drawn(0, images=80, levels=levels)
    scores = np.clip(scores, 0.01, 0.99)
    label_mask = np.random.default_rng(1).random(targets.shape) < 0.8
    found = tune(scores, targets, config, label_mask)
    assert (found.dtype, found.shape) == (np.float32, (6,))
    np.testing.assert_allclose(found, tuned_by_loops(scores, targets, config, label_mask), atol=1e-6)


def test_an_unreachable_floor_gives_the_most_precise_threshold() -> None:
    target = np.array([1, 0, 1, 0, 0, 1, 0, 0])
    low = np.array([0.8, 0.9, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2])  # precision 0, 1/2, 2/3, 1/2, 2/5, 1/2 …
    high = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2])
    scores, targets = np.stack([low, high, low], 1), np.stack([target, target, np.zeros(8)], 1)
    assert missed_by(scores, targets, floor(0.75)) == (0, 2), "the last has no positives, and the pooled threshold"
    assert tune(scores, targets, floor(0.75, 3))[:2] == pytest.approx([0.65, 0.85]), "no mixing below the floor"
    assert missed_by(scores, targets, floor(0.66)) == (2,)
    assert missed_by(scores, targets, Thresholds()) == ()
    label_mask = np.ones((8, 3), dtype=bool)
    label_mask[1, 0] = label_mask[:, 2] = False
    assert missed_by(scores, targets, floor(0.75), label_mask) == ()


def missed_by(scores: Array, targets: Array, config: Thresholds, label_mask: Array | None = None) -> tuple[int, ...]:
    return below_floor(tune(scores, targets, config, label_mask), scores, targets, config, label_mask)


@given(data=st.data(), precision=st.floats(0.05, 1), prior=st.sampled_from([0.0, 2.0, 50.0]))
@settings(max_examples=60, deadline=None)
def test_on_tune_every_label_reaches_the_floor_or_is_named(data: st.DataObject, precision: float, prior: float) -> None:
    """And one is named only if it has no positives, or if no threshold of its own would do."""
    shape = data.draw(st.tuples(st.integers(1, 30), st.integers(1, 4)))
    scores = data.draw(arrays(np.float32, shape, elements=st.integers(0, 12).map(lambda level: level / 12)))
    targets, label_mask = (data.draw(arrays(bool, shape)) for _ in range(2))
    tuned = tune(scores, targets, floor(precision, prior), label_mask)
    named = missed_by(scores, targets, floor(precision, prior), label_mask)
    for c in range(shape[1]):
        score, target = scores[label_mask[:, c], c], targets[label_mask[:, c], c]
        every = [target[score >= one] for one in {*score.tolist(), tuned[c]} if (score >= one).any()]
        decided = target[score >= tuned[c]]
        assert (c in named) is bool(decided.size and decided.mean() < precision)
        if c in named and target.any():
            assert max(one.mean() for one in every) < precision
            assert decided.mean() == max(one.mean() for one in every), "its most precise threshold"


@pytest.mark.parametrize("transform", [lambda s: s**3, np.sqrt, lambda s: 0.2 + s / 2])
def test_a_labels_own_decisions_survive_any_monotone_change_of_scores(transform: Any) -> None:
    scores, targets = drawn(5)
    scores = scores.astype(np.float64)
    for config in (OWN, floor(0.6)):
        decided = scores >= tune(scores, targets, config)
        np.testing.assert_array_equal(transform(scores) >= tune(transform(scores), targets, config), decided)


def test_shrunk_thresholds_move_with_the_logits() -> None:
    scores, targets = drawn(5, images=5000)
    scores = np.clip(scores.astype(np.float64), 0.05, 0.95)
    before = tune(scores, targets, Thresholds(prior=50))
    after = tune(1 / (1 + np.exp(-(1.5 * logit(scores) - 1))), targets, Thresholds(prior=50))
    np.testing.assert_allclose(logit(after), 1.5 * logit(before) - 1, atol=0.01)  # half-way is so on scores, not logits


def test_a_label_without_positives_has_the_threshold_of_all_pooled() -> None:
    scores, targets = drawn(3)
    for config in (OWN, Thresholds()):
        alone = tune(scores.reshape(-1, 1), targets.reshape(-1, 1), OWN)[0]
        assert tune(scores, targets, config)[5] == pytest.approx(alone, abs=1e-6)
    assert tune(scores, np.zeros_like(targets), Thresholds()).tolist() == [0.5] * 6
    assert tune(scores, targets, Thresholds(), np.zeros_like(targets)).tolist() == [0.5] * 6


def test_scores_of_0_and_1_give_finite_thresholds() -> None:
    scores = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.4]], dtype=np.float32)
    targets = np.array([[1, 1], [1, 1], [0, 0], [0, 0]])
    tuned = tune(scores, targets, Thresholds())
    assert np.isfinite(tuned).all()
    assert ((tuned >= 0) & (tuned <= 1)).all()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"precision": 0.8}, "thresholds.precision: expected none with aim f1, got 0.8; set aim: precision too"),
        ({"aim": "precision"}, "expected above 0 and at most 1 with aim precision, got None"),
        ({"aim": "precision", "precision": 80}, "expected above 0 and at most 1 with aim precision, got 80"),
        ({"aim": "precision", "precision": math.nan}, "got nan"),
        ({"prior": -1}, "thresholds.prior: expected a number of positives of at least 0, got -1"),
        ({"prior": math.inf}, "got inf"),
    ],
)
def test_bad_settings_are_named(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Thresholds(**values)


def test_bad_input_is_named() -> None:
    scores, targets = drawn(6)
    with pytest.raises(ValueError, match=r"expected equal shapes \(N, L\), got \(200, 5\) and \(200, 6\)"):
        tune(scores[:, :5], targets, Thresholds())
