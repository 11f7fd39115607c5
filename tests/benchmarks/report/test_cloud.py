"""Candidates of a search in the chart."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.report.scatter import Scatter
from tests.benchmarks.report.conftest import SCREENED
from tests.helpers import reports

Draw = Callable[..., Scatter]


def test_candidates_lie_where_they_were_timed_and_raced(finals: dict[str, Any], draw: Draw) -> None:
    drawing = draw(finals)
    assert drawing.cloud is not None
    at = {dot.text.split(":")[0]: dot for dot in drawing.cloud.dots}
    frame, x, y = drawing.frame, drawing.x, drawing.y
    for candidate, p90, value, _ in SCREENED:
        if candidate not in at:
            continue
        share = math.log(p90 / x.low) / math.log(x.high / x.low)
        assert at[candidate].x == pytest.approx(frame.left + share * (frame.right - frame.left), abs=0.1)
        if value is None:
            assert at[candidate].y is None
        else:
            height = (100 * value - y.low) / (y.high - y.low)
            assert at[candidate].y == pytest.approx(frame.bottom - height * (frame.bottom - frame.top), abs=0.1)
    assert {name for name, *_ in SCREENED} - set(at) == {SCREENED[7][0], SCREENED[10][0]}  # 11 mAP, and 240 ms
    assert drawing.cloud.outside == 2
    assert drawing.cloud.epochs == "1 to 4"
    assert at[SCREENED[3][0]].text == f"{SCREENED[3][0]}: 3.90 ms, mAP 47.2 on select after 2 epochs"
    assert at[SCREENED[11][0]].text.endswith(": 2.60 ms; not trained: resnet10t-48px-s4-pooled is as fast and has "
                                             "more parameters")  # fmt: skip


def test_a_far_candidate_does_not_move_the_engines(finals: dict[str, Any], draw: Draw) -> None:
    before = draw(finals)
    for at, (p90, value) in enumerate([(1e-6, 0.5), (1e6, 0.5), (3.0, 0.0), (3.0, 1.0)]):
        one = {**finals["search"]["screen"][0], "candidate": f"far{at}", "p90_ms": p90, "select_map": value}
        finals["search"]["screen"].append(one)
    after = draw(finals)
    assert [(mark.x, mark.y) for mark in after.marks] == [(mark.x, mark.y) for mark in before.marks]
    assert after.cloud is not None
    assert after.cloud.outside == 2 + 4


def test_engines_keep_half_of_the_height_unless_they_are_alike(finals: dict[str, Any], draw: Draw) -> None:
    finals["search"]["screen"] = [
        {**finals["search"]["screen"][0], "select_map": value / 100} for value in range(101)
    ]  # everywhere
    drawing = draw(finals)
    tops = [y for mark in drawing.marks for y in mark.bar or ()]
    assert max(tops) - min(tops) > 0.2 * (drawing.frame.bottom - drawing.frame.top)
    assert drawing.y.low < 40 < drawing.y.high


@pytest.mark.parametrize(("budget", "drawn"), [(5.0, "budget 5.00 ms"), (1e5, None), (None, None), (1e-9, None)])
def test_the_budget_is_a_line_where_it_is_in_sight(
    finals: dict[str, Any], draw: Draw, budget: float | None, drawn: str | None
) -> None:
    finals["search"]["max_p90_ms"] = budget
    drawing = draw(finals)
    assert drawing.cloud is not None
    assert drawing.cloud.budget == (drawn and (drawing.x(5.0), drawn))


def test_candidates_of_devices_that_are_not_in_the_report_are_left_out(finals: dict[str, Any], draw: Draw) -> None:
    for one in finals["search"]["screen"]:
        one["device"] = "elsewhere"
    drawing = draw(finals)
    assert drawing.cloud is not None
    assert drawing.cloud.dots == []


def test_page_and_slide_explain_the_cloud(finals: dict[str, Any], tmp_path: Path) -> None:
    page, _, _ = reports.write(finals, tmp_path)
    slide = (tmp_path / "chart.svg").read_text(encoding="utf-8")
    assert "mAP on <em>select</em> after 1 to 4 epochs, not on test" in page
    assert "2 candidates outside this chart" in page
    assert "candidate of the search, mAP on select after 1 to 4 epochs" in slide
    assert "tick on the axis: candidate that was not trained" in slide
    for text in (page, slide):
        assert text.count("budget 5.00 ms") == (2 if text is page else 1)
