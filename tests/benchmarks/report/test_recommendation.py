"""Which engine to deploy: the rule against one written as loops, its limits, and what it says when nothing fits."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.report.recommendation import choose
from benchmarks.schema import Row
from tests.helpers.rows import measured


def row(name: str, p90: float, points: float, mb: float = 5.0, **more: Any) -> Row:
    """An engine with an interval of a point to both sides."""
    interval = {"map_low": points / 100 - 0.01, "map_high": points / 100 + 0.01}
    return measured(name, p90, points / 100, bytes=round(mb * 1e6), **interval | more)


ROWS = [
    row("fast", 2.0, 40.0, 4.0),
    row("middle", 4.0, 49.0, 8.0),
    row("slow", 9.0, 50.0, 15.0),
    row("reference", 0.1, 90.0, 1.0, kind="reference"),
    row("absent", 0.1, 90.0, 1.0, status="built, not run", reason="no GPU"),
]


@pytest.mark.parametrize(
    ("limits", "engine", "runner_up"),
    [
        ({}, "middle", "slow"),  # 49 to 50: the intervals overlap, the faster one wins
        ({"max_p90_ms": 3.0}, "fast", None),
        ({"max_p90_ms": 4.0}, "middle", "fast"),
        ({"min_map": 49.5}, "slow", None),
        ({"max_mb": 5}, "fast", None),
        ({"max_p90_ms": 10, "min_map": 30, "max_mb": 9}, "middle", "fast"),
    ],
)
def test_the_rule_by_hand(limits: dict[str, float], engine: str, runner_up: str | None) -> None:
    answer = choose(ROWS, device="here", **limits)
    assert (answer.engine, answer.runner_up) == (engine, runner_up)


def test_as_many_engines_as_you_like() -> None:
    rows = [row(f"engine{number}", 2.0 + number, 40.0 + number / 1000) for number in range(1100)]
    answer = choose(rows, device="here")
    assert (answer.engine, answer.runner_up) == ("engine0", "engine1")


def test_why_and_who_is_refused() -> None:
    answer = choose(ROWS, device="here", max_p90_ms=8)
    assert answer.why == (
        "4.00 ms end to end (p90) with 49.0 mAP: the best mAP of those that fit, and no other comes within 1 % of it. "
        "A reference, not in the bundle, tags better: reference, 0.100 ms with 90.0 mAP."
    )
    assert answer.refused == (
        ("fast", "tags worse: mAP 40.0"),
        ("slow", "p90 9.00 ms, 1.00 ms over"),
        ("absent", "built, not run: no GPU"),
    )
    told = (
        "the fastest of 2 engines that tag as well as the best. There is no significant difference in mAP between them."
    )
    assert told in choose(ROWS, device="here").why
    assert dict(choose(ROWS, device="here").refused)["slow"] == "as good, but slower: 9.00 ms"


@pytest.mark.parametrize(
    ("points", "limits", "told"),
    [
        (60.0, {}, "tags better: teacher, 6.00 ms with 60.0 mAP."),
        (60.0, {"max_p90_ms": 7}, "tags better: teacher, 6.00 ms with 60.0 mAP."),
        (60.0, {"max_p90_ms": 5}, None),  # the reference does not fit either
        (60.0, {"max_mb": 4}, None),
        (50.5, {}, None),  # intervals overlap: not shown to tag better
    ],
)
def test_a_reference_that_tags_better_is_named(points: float, limits: dict[str, float], told: str | None) -> None:
    teachers = [row("slower", 8.0, points, kind="reference"), row("teacher", 6.0, points, kind="reference")]
    answer = choose([*ROWS[:2], *teachers], device="here", **limits)
    assert answer.engine in ("fast", "middle")
    assert answer.why.endswith(f"A reference, not in the bundle, {told}" if told else "% of it.")


def test_a_reference_that_would_fit_is_named() -> None:
    message = r"relax that limit; a reference, not in the bundle, would fit: reference, 0.100 ms with 90.0 mAP$"
    with pytest.raises(ValueError, match=message):
        choose(ROWS, device="here", min_map=60)
    with pytest.raises(ValueError, match=r"relax that limit$"):
        choose(ROWS, device="here", min_map=95)


def test_paired_intervals_beat_those_of_map() -> None:
    exact = {"delta_low": -0.0001, "delta_high": 0.0001}
    lossy = {"delta_low": -0.012, "delta_high": -0.008}
    rows = [row("int8", 2.0, 49.0, **lossy), row("float", 4.0, 50.0, **exact)]
    assert choose(rows, device="here").engine == "float"  # two points of interval overlap, but the loss is shown
    other = replace(rows[0], model="teacher")  # then the differences are to other scores
    assert choose([other, rows[1]], device="here", max_mb=9).engine == "int8"


def test_without_intervals_nothing_is_said_of_equal_map() -> None:
    """As with one test image: every engine may have all of its labels right."""
    rows = [replace(row(name, 1.0 + index, 100.0), map_low=None, map_high=None) for index, name in enumerate("ab")]
    why = choose(rows, device="here").why
    assert why.endswith("the fastest of 2 engines; there are too few test images to compare mAP.")


def test_within_one_percent_is_as_good_even_if_told_apart() -> None:
    close = [
        row("quick", 2.0, 49.6, delta_low=-0.005, delta_high=-0.003),
        row("best", 4.0, 50.0, delta_low=0.0, delta_high=0.0),
    ]
    answer = choose(close, device="here")
    assert answer.engine == "quick"
    assert answer.why.endswith("It is within 1 % of the best, best (−0.40 points).")
    close[0] = replace(close[0], map=0.494)
    assert choose(close, device="here").engine == "best"


@pytest.mark.parametrize("limits", [{}, {"max_mb": 9}])
def test_a_gain_over_the_own_float_scores_is_no_reason_for_a_slower_engine(limits: dict[str, float]) -> None:
    """The signed graph scores higher than the float model and the other int8 graph."""
    rows = [
        row("float", 1.9, 12.6, 15.0, delta_map=0.0, delta_low=0.0, delta_high=0.0),
        row("unsigned", 1.27, 12.5, delta_map=-0.001, delta_low=-0.004, delta_high=0.002),
        row("signed", 6.15, 14.4, delta_map=0.018, delta_low=0.013, delta_high=0.023),
    ]
    answer = choose(rows, device="here", **limits)
    assert answer.engine == "unsigned"
    assert "signed gains +1.80 points over the float scores of its model: not counted" in answer.why
    assert dict(answer.refused)["signed"] == "as good, but slower: 6.15 ms"
    rows[2] = replace(rows[2], delta_map=None)  # nobody knows of a gain: then the highest mAP is the best
    assert choose(rows, device="here", **limits).engine == "signed"


def test_a_loss_to_the_own_float_scores_counts() -> None:
    """The other way round: the faster engine loses beyond its interval and by more than 1 %."""
    rows = [
        row("float", 1.9, 50.0, delta_map=0.0, delta_low=0.0, delta_high=0.0),
        row("int8", 1.2, 49.0, delta_map=-0.01, delta_low=-0.014, delta_high=-0.006),
    ]
    answer = choose(rows, device="here")
    assert answer.engine == "float"
    assert "not counted" not in answer.why


def test_a_gain_within_one_percent_changes_nothing_and_is_not_told() -> None:
    rows = [
        row("float", 1.9, 50.0, delta_map=0.0, delta_low=0.0, delta_high=0.0),
        row("lucky", 1.2, 50.4, delta_map=0.004, delta_low=0.001, delta_high=0.007),
        row("lossy", 1.5, 49.6, delta_map=-0.004, delta_low=-0.005, delta_high=-0.0035),
    ]
    answer = choose(rows, device="here")
    assert answer.engine == "lucky"
    assert answer.why.endswith("the fastest of 3 engines that tag as well as the best. No other of them tags better.")


def expected(rows: list[Row], limits: dict[str, float]) -> str | None:
    """The rule once more, in loops and without paired intervals."""
    fitting = []
    for one in rows:
        latency, points, size = one.end_to_end_ms.p90, 100 * one.map, one.bytes / 1e6
        if latency <= limits["max_p90_ms"] and points >= limits["min_map"] and size <= limits["max_mb"]:
            fitting.append(one)
    if not fitting:
        return None
    best = sorted(fitting, key=lambda one: one.map)[-1]
    alike = [one for one in fitting if one.map_high >= best.map_low or one.map >= 0.99 * best.map]
    return sorted(alike, key=lambda one: one.end_to_end_ms.p90)[0].name


def test_many_cases_against_loops() -> None:
    dice = random.Random(0)
    answers = set()
    for _ in range(300):
        rows = [
            row(f"e{i}", dice.uniform(1, 20), dice.uniform(40, 60), dice.uniform(1, 30))
            for i in range(dice.randint(1, 8))
        ]
        limits = {
            "max_p90_ms": dice.uniform(1, 25),
            "min_map": dice.uniform(35, 55),
            "max_mb": dice.uniform(1, 35),
        }
        wanted = expected(rows, limits)
        answers.add(wanted)
        if wanted is None:
            with pytest.raises(ValueError, match="closest is"):
                choose(rows, device="here", **limits)
        else:
            assert choose(rows, device="here", **limits).engine == wanted
    assert len(answers) > 5


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_p90_ms": 1.5}, r"here: .* got none; closest is fast \(p90 2.00 ms, 0.500 ms over\): relax that limit"),
        ({"min_map": 60}, r"closest is slow \(mAP 50.0, 10.00 points short\)"),
        ({"max_mb": 3}, r"closest is fast \(4.0 MB, 1.00 MB over\)"),
        ({"max_p90_ms": 3.9, "min_map": 45}, r"closest is middle \(p90 4.00 ms, 0.100 ms over\)"),
    ],
)
def test_nothing_fits_names_the_closest_and_its_miss(limits: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose(ROWS, device="here", **limits)


def test_unknown_device_and_wrong_limits() -> None:
    with pytest.raises(ValueError, match=r"device: expected one that was measured \(here\), got 'there'; name one"):
        choose(ROWS, device="there")
    with pytest.raises(ValueError, match=r"max_p90_ms: expected a number of at least 0, got nan"):
        choose(ROWS, device="here", max_p90_ms=float("nan"))
    with pytest.raises(ValueError, match=r"min_map: expected points from 0 to 100, got 500"):
        choose(ROWS, device="here", min_map=500)
    with pytest.raises(ValueError, match=r"here: expected a measured engine with latency and mAP, got none"):
        choose(ROWS[3:], device="here")


def test_a_size_that_nobody_knows_keeps_no_limit() -> None:
    unknown = [replace(ROWS[0], bytes=None)]
    assert choose(unknown, device="here").engine == "fast"
    with pytest.raises(ValueError, match="closest is fast \\(size unknown\\)"):
        choose(unknown, device="here", max_mb=100)
