import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import t
from sklearn.metrics import average_precision_score

from mlkd.core import intervals, metrics
from scripts.interval_simulation import chosen_form, long_tail, scenes, simulate


def drawn(seed: int, levels: int | None = None, images: int = 40, labels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = rng.random((images, labels)) < 0.3
    scores = np.clip(0.3 * targets + 0.8 * rng.random((images, labels)), 0, 1)
    return (scores if levels is None else np.round(scores * levels) / levels), targets


def derivatives(scores: np.ndarray, targets: np.ndarray, label_mask: np.ndarray) -> np.ndarray:
    """(N, L) by scikit-learn with one image weighing a little more."""
    found, step = np.zeros(scores.shape), 1e-6
    for label in range(scores.shape[1]):
        rows = np.flatnonzero(label_mask[:, label])
        for at, row in enumerate(rows):
            aps = []
            for weight in (1 - step, 1 + step):
                weights = np.where(np.arange(len(rows)) == at, weight, 1.0)
                truth, score = targets[rows, label], scores[rows, label]
                aps.append(average_precision_score(truth, score, sample_weight=weights))
            found[row, label] = (aps[1] - aps[0]) / (2 * step)
    return found


def related(groups: Sequence[tuple[str, ...]]) -> np.ndarray:
    """(N, N) by plain sets."""
    return np.array([[bool(set(one) & set(other)) for other in groups] for one in groups])


def half(interval: intervals.Interval) -> float:
    assert interval.high - interval.value == pytest.approx(interval.value - interval.low)
    return (interval.high - interval.low) / 2


def expected_half(variance: float, sums: Sequence[float], most: float = math.inf) -> float:
    """Half of the t interval; `sums` of the influences of each name, for the degrees of freedom, at `most` so many."""
    squares = [value**2 for value in sums]
    scatter = sum(value**2 for value in squares) - sum(squares) ** 2 / len(squares)
    return float(t.ppf(0.975, min(most, 2 * sum(squares) ** 2 / scatter))) * math.sqrt(variance)


@pytest.mark.parametrize(("partly", "levels"), [(False, None), (True, 1), (True, 5)])
def test_interval_of_groups_equals_plain_loops(partly: bool, levels: int | None) -> None:
    scores, targets = drawn(4, levels)
    label_mask = np.random.default_rng(0).random(targets.shape) < (0.6 if partly else 2)
    groups = np.arange(40) // 4
    pairs, positive = related([(str(one),) for one in groups]), targets & label_mask
    independent = positive.sum(0) ** 2 / np.array([pairs[np.ix_(one, one)].sum() for one in positive.T])
    of_image = (derivatives(scores, targets, label_mask) * np.sqrt(independent / (independent - 1))).mean(1)
    sums = [of_image[groups == one].sum() for one in range(10)]
    expected = expected_half(sum(value**2 for value in sums), sums)
    found = intervals.map_interval(scores, targets, groups, label_mask=label_mask if partly else None)
    assert half(found) == pytest.approx(expected, rel=1e-4)
    assert found.value == pytest.approx(metrics.mean_average_precision(scores, targets, label_mask))


def test_interval_of_composed_images_equals_plain_loops() -> None:
    """Images that share any name are related; what the names have in common is told apart from how often a label is."""
    scores, targets = drawn(7, images=80)
    rng = np.random.default_rng(1)
    parts = [[f"{label}.{rng.integers(8)}" for label in np.flatnonzero(row)] for row in targets]
    groups = [(*names, f"background {rng.integers(4)}") for names in parts]
    pairs, label_mask = related(groups), np.ones(targets.shape, dtype=bool)
    total, common = np.zeros(80), np.zeros(80)
    for label, of_image in enumerate(derivatives(scores, targets, label_mask).T):
        have = targets[:, label]
        level = np.where(have, of_image[have].mean(), of_image[~have].mean())
        counts = [part.sum() ** 2 / pairs[np.ix_(part, part)].sum() for part in (have, ~have)]
        apart = (of_image - level) * np.where(have, *(math.sqrt(count / (count - 1)) for count in counts))
        total, common = total + (level + apart) / 3, common + apart / 3
    names = [name for one in groups for name in one]
    by_name = {name: common[[name in one for one in groups]].sum() for name in set(names)}
    variance = sum(
        total[i] ** 2 if i == j else common[i] * common[j] for i in range(80) for j in range(80) if pairs[i, j]
    )
    widest = {sorted(one, key=names.count)[-1] for one in groups}
    assert widest == {f"background {number}" for number in range(4)}
    most = (variance / sum(by_name[name] ** 2 for name in widest)) ** 2 * 3
    expected = expected_half(variance, list(by_name.values()), most)
    assert half(intervals.map_interval(scores, targets, groups)) == pytest.approx(expected, rel=1e-4)
    assert expected > 1.01 * expected_half(variance, list(by_name.values())), "four backgrounds are few"


def test_interval_of_a_label_with_one_positive_knows_the_other_labels() -> None:
    """Half of its squared distance to the mean stands for the spread that a single positive cannot show."""
    scores, targets = drawn(2)
    targets, scores = targets[:, :2], scores[:, :2]
    targets[:, 1] = np.arange(40) == 7
    aps = metrics.average_precision(scores, targets)
    every = derivatives(scores, targets, np.ones(targets.shape, dtype=bool))
    count = targets[:, 0].sum()
    of_image = (every[:, 0] * math.sqrt(count / (count - 1)) + every[:, 1]) / 2
    of_image[7] += (aps[1] - aps.mean()) / math.sqrt(2) / 2
    found = intervals.map_interval(scores, targets, np.arange(40))
    assert half(found) == pytest.approx(expected_half((of_image**2).sum(), of_image), rel=1e-4)


def test_interval_of_a_difference_is_paired() -> None:
    """What two models have in common cancels; equal models differ by nothing."""
    scores, targets = drawn(5, images=200)
    groups = np.arange(200)
    same = intervals.difference_interval(scores, scores, targets, groups)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    nearly = scores + 0.01 * np.random.default_rng(0).random(scores.shape)
    narrow = half(intervals.difference_interval(nearly, scores, targets, groups))
    assert 0 < narrow < half(intervals.map_interval(scores, targets, groups)) / 5
    better = intervals.difference_interval(np.clip(scores + targets, 0, 2), scores, targets, groups)
    assert better.low > 0


def test_one_name_in_a_tuple_is_the_same_as_the_name() -> None:
    scores, targets = drawn(6)
    names = [f"photograph {at // 3}" for at in range(40)]
    plain = intervals.map_interval(scores, targets, names)
    assert intervals.map_interval(scores, targets, [(name,) for name in names]) == plain


def test_no_interval_without_a_positive_or_with_one_group() -> None:
    scores, targets = drawn(6)
    found = intervals.map_interval(scores, np.zeros_like(targets), np.arange(40))
    assert all(math.isnan(value) for value in (found.value, found.low, found.high))
    alone = intervals.map_interval(scores, targets, ["studio"] * 40)
    assert math.isnan(alone.low)
    assert math.isnan(alone.high)
    assert alone.value > 0


def test_groups_that_do_not_fit_are_refused() -> None:
    scores, targets = drawn(6)
    with pytest.raises(ValueError, match="groups: expected 40, one for each image, got 3"):
        intervals.map_interval(scores, targets, ["a", "b", "c"])
    with pytest.raises(ValueError, match="image 1 has no name"):
        intervals.map_interval(scores, targets, [("a",), (), *(("b", "c") for _ in range(38))])


def test_intervals_cover_the_mean_of_the_estimates() -> None:
    """A small form of scripts/interval_simulation.py; of 100 draws 95 should cover, with a standard error of 2."""
    found = simulate(lambda rng: long_tail(rng, 120, 10, (0.02, 0.3), group=2, unknown=0.2), chosen_form, draws=100)
    for what in ("one", "difference"):
        assert found["chosen", what].own == 1
        assert 0.88 <= found["chosen", what].covers <= 1


def test_intervals_of_scenes_count_what_scenes_share() -> None:
    """Scenes of few hard and easy cut-outs differ by more than their number says: whoever ignores it is too certain."""
    found = simulate(lambda rng: scenes(rng, 100, 6, 6, 10), chosen_form, draws=40)
    assert found["chosen", "one"].width > 1.15 * found["by image", "one"].width
    assert 0.7 < found["chosen", "one"].width < 1.5
    assert found["chosen", "one"].own == 1


def test_a_name_that_all_images_have_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    targets = rng.random((80, 3)) < 0.4
    scores = rng.random((80, 3)) + 0.5 * targets
    names = [(f"a{rng.integers(20)}", f"b{rng.integers(30)}") for _ in range(80)]
    without = intervals.map_interval(scores, targets, names)
    assert intervals.map_interval(scores, targets, [(*one, "the only background") for one in names]) == without
    assert without.low < without.value < without.high


def test_intervals_hold_only_values_that_are_possible() -> None:
    """With two positives the t interval alone is wider than all values."""
    targets = np.array([1, 1, *[0] * 20], np.uint8)[:, np.newaxis]
    first = np.linspace(1, 0, 22)[:, np.newaxis]
    second = np.roll(first, 1, 0)
    groups = [str(number) for number in range(22)]
    result = intervals.map_interval(second, targets, groups)
    assert 0 <= result.low <= result.value <= result.high <= 1
    assert (result.low, result.high) == (0, 1)
    difference = intervals.difference_interval(first, second, targets, groups)
    assert -1 <= difference.low <= difference.value <= difference.high == 1
