"""Which candidates go on, against scores whose order is known without a computation."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.search.promotion import Result, Truth, fastest_as_good, promoted, rank
from pipeline.search.rows import Latency

IMAGES = 60
TARGETS = np.tile(np.array([[1], [0]], dtype=np.uint8), (IMAGES // 2, 1))
EACH = tuple((f"image {row}",) for row in range(IMAGES))
PERFECT = TARGETS.astype(np.float32)
WORST = 1 - PERFECT
NEARLY = PERFECT.copy()
NEARLY[0] = 0.5  # the first positive is still above all negatives: the same order, so the same mAP


def result(candidate: str, p90_ms: float, scores: NDArray[np.float32], bound_ms: float | None = None) -> Result:
    return Result(candidate=candidate, latency=Latency(p90_ms=p90_ms, bound_ms=bound_ms or p90_ms), scores=scores)


def test_better_beats_faster_and_a_tie_goes_to_the_faster() -> None:
    results = [result("slow", 3.0, PERFECT), result("bad", 1.0, WORST), result("fast", 2.0, NEARLY)]
    standings = rank(results, Truth(targets=TARGETS, groups=EACH))
    assert [(one.candidate, one.beaten_by) for one in standings] == [
        ("fast", ()),
        ("slow", ("fast",)),
        ("bad", ("slow", "fast")),
    ]
    assert [one.select_map.value for one in standings] == [1.0, 1.0, pytest.approx(by_hand(WORST))]
    assert standings[2].select_map.low < standings[2].select_map.value < standings[2].select_map.high
    assert promoted(standings) == ["fast", "slow"]
    assert promoted(standings[:1]) == ["fast"]
    assert promoted([*standings, standings[0]]) == ["fast", "slow"], "the half of four"


def by_hand(scores: NDArray[np.float32]) -> float:
    """The average precision where all negatives score above all positives: mean of k / (negatives + k)."""
    positives = int(TARGETS.sum())
    assert scores[TARGETS == 1].max() < scores[TARGETS == 0].min()
    return positives / IMAGES  # equal scores of all positives count together


def test_equal_candidates_of_equal_latency_beat_each_other_not() -> None:
    standings = rank([result("b", 1.0, PERFECT), result("a", 1.0, NEARLY)], Truth(targets=TARGETS, groups=EACH))
    assert [(one.candidate, one.beaten_by) for one in standings] == [("a", ()), ("b", ())]


def test_images_that_depend_on_each_other_are_no_evidence() -> None:
    """The slow one is better on every image, which all come from one place: that is a tie."""
    results = [result("slow", 3.0, PERFECT), result("fast", 2.0, WORST)]
    (first, _) = rank(results, Truth(targets=TARGETS, groups=EACH))
    assert first.candidate == "slow"
    (first, second) = rank(results, Truth(targets=TARGETS, groups=(("one place",),) * IMAGES))
    assert (first.candidate, second.beaten_by) == ("fast", ("fast",))


def test_unknown_labels_do_not_count() -> None:
    known = np.ones_like(TARGETS, dtype=np.bool_)
    known[10:] = False
    half = PERFECT.copy()
    half[10:] = WORST[10:]
    results = [result("slow", 3.0, PERFECT), result("fast", 2.0, half)]
    assert rank(results, Truth(targets=TARGETS, groups=EACH))[0].candidate == "slow"
    assert rank(results, Truth(targets=TARGETS, groups=EACH, label_mask=known))[0].candidate == "fast"


def test_the_highest_map_goes_on_where_faster_ones_tie() -> None:
    """Three fast candidates that are no worse by the interval would be the whole half."""
    truth = Truth(targets=TARGETS, groups=(("one place",),) * IMAGES)
    results = [result(name, ms, NEARLY) for name, ms in (("a", 1.0), ("b", 2.0), ("c", 3.0))]
    results = [one if one.candidate != "b" else result("b", 2.0, WORST) for one in results]
    results = [one if one.candidate != "a" else result("a", 1.0, WORST) for one in results]
    standings = rank([*results, result("d", 4.0, WORST)], truth)
    assert [one.candidate for one in standings] == ["a", "b", "c", "d"]
    assert promoted(standings) == ["a", "b", "c"], "c has the highest mAP"


def test_the_choice_is_the_fastest_of_those_that_are_not_significantly_worse() -> None:
    truth = Truth(targets=TARGETS, groups=EACH)
    results = [result("slow", 3.0, PERFECT), result("bad", 1.0, WORST), result("fast", 2.0, NEARLY)]
    assert fastest_as_good(results, truth) == "fast"
    assert fastest_as_good(results[:2], truth) == "slow"
    assert fastest_as_good(results[:2], Truth(targets=TARGETS, groups=(("one place",),) * IMAGES)) == "bad"


def test_a_difference_within_the_noise_of_the_times_decides_nothing() -> None:
    """All three tie in mAP; `noisy` is only the fastest by its own noise."""
    truth = Truth(targets=TARGETS, groups=(("one place",),) * IMAGES)
    noisy, good = result("noisy", 2.6, WORST, bound_ms=2.9), result("good", 2.7, PERFECT, bound_ms=2.8)
    slow = result("slow", 3.0, PERFECT, bound_ms=3.2)
    assert [(one.candidate, one.beaten_by) for one in rank([noisy, good, slow], truth)] == [
        ("good", ()),
        ("noisy", ()),
        ("slow", ("noisy", "good")),
    ]
    assert fastest_as_good([noisy, good, slow], truth) == "good"
    assert fastest_as_good([result("noisy", 2.6, WORST, bound_ms=2.65), good, slow], truth) == "noisy"
