"""Which student and engine to deploy: paired comparisons, the bundle and the budget of a search."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.report.recommendation import NO_LIMITS, budget_of, choose
from benchmarks.sections import SearchResult
from tests.benchmarks.report.test_recommendation import ROWS, row


def test_another_student_is_compared_by_its_paired_interval_to_the_student() -> None:
    """Four points worse: the intervals of mAP overlap, the paired one is far from 0."""
    wide = {"map_low": 0.4, "map_high": 0.6, "delta_map": 0.0}
    student = row("float", 4.0, 50.0, **wide | {"delta_low": 0.0, "delta_high": 0.0})
    paired = {"model": "fastest", "vs_student_low": -0.06, "vs_student_high": -0.02}
    fastest = row("fastest-float", 2.0, 46.0, **wide | paired)
    assert choose([student, fastest], device="here", max_mb=9).engine == "float"
    near = replace(fastest, vs_student_low=-0.09, vs_student_high=0.01)  # no significant difference
    assert choose([student, near], device="here", max_mb=9).engine == "fastest-float"
    unknown = replace(fastest, vs_student_low=None)
    assert choose([student, unknown], device="here", max_mb=9).engine == "fastest-float"  # by the intervals of mAP
    gained = replace(near, delta_map=0.03)  # of its own rounding: it counts as three points lower, its interval too
    assert choose([student, gained], device="here", max_mb=9).engine == "float"


def test_the_answer_names_the_student_and_without_a_limit_is_of_the_bundle() -> None:
    others = [row("fastest-int8", 1.0, 50.0, 2.0, model="fastest"), row("best-int8", 8.0, 60.0, 2.0, model="best")]
    answer = choose([*ROWS, *others], device="here")
    assert (answer.engine, answer.student) == ("middle", "student")
    assert {name for name, _ in answer.refused} == {"fast", "slow", "absent"}
    answer = choose([*ROWS, *others], device="here", max_p90_ms=8)
    assert (answer.engine, answer.student) == ("best-int8", "best")
    assert "The student is best, not the one in the bundle." in answer.why
    assert dict(answer.refused)["fastest-int8"] == "tags worse: mAP 50.0"


@pytest.mark.parametrize(
    ("budget", "engine"),
    [
        ({"max_p90_ms": 3}, "fast"),
        ({"max_mb": 5}, "fast"),
        ({"max_p90_ms": 1}, "middle"),  # nothing keeps it: as without a budget
        ({}, "middle"),
    ],
)
def test_the_engine_to_deploy_keeps_the_budget_of_the_search(budget: dict[str, float], engine: str) -> None:
    search = SearchResult(**budget)
    assert choose(ROWS, device="here", budget=budget_of(search)).engine == engine
    assert budget_of(None) == NO_LIMITS
