"""The students of a search in page, Markdown and model card."""

import html
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.report import write_card
from benchmarks.report.devices import read_devices
from benchmarks.report.problems import over_budget
from benchmarks.report.recommendation import budget_of
from benchmarks.report.rows import read_rows
from benchmarks.report.students import student_card, student_lines
from benchmarks.report.verdict import Verdict, judge
from benchmarks.schema import Report, read_report
from export.backends import OnnxRuntime
from tests.benchmarks.report.conftest import STUDENTS
from tests.helpers import bundles, reports


def judged(bench: dict[str, Any]) -> tuple[Report, Verdict]:
    report = read_report(bench)
    return report, judge(read_rows(report.rows), read_devices(report.devices), budget_of(report.search))[0]


def told(bench: dict[str, Any]) -> list[str]:
    report, verdict = judged(bench)
    card = student_card(report.search, read_rows(report.rows), verdict)
    assert card is not None
    return [card.question, card.answer, *card.lines]


def test_the_card_says_why_this_student_and_what_the_others_are(finals: dict[str, Any]) -> None:
    finals["search"]["max_mb"] = 6
    assert told(finals) == [
        "Which student?",
        STUDENTS["student"][1],
        "highest mAP on the split select of those within 5.00 ms (p90) and 6 MB; "
        "52.1 on select after 4 epochs of the race",
        "12 candidates: 9 within the budget, 8 trained in the race, 3 of them fully",
        f"fastest is {STUDENTS['fastest'][1]}: 2.09 ms with 51.4 mAP (−4.0 points)",
        f"knee is {STUDENTS['knee'][1]}: 3.34 ms with 54.1 mAP (−1.3 points, not significant)",
    ]


def test_no_more_is_claimed_than_is_known(finals: dict[str, Any]) -> None:
    search = finals["search"]
    search.update(max_p90_ms=None, screen=[])
    search["students"][0]["roles"] = ["knee"]
    for row in finals["rows"]:
        if row["model"] == "fastest":
            row["status"] = "failed"
    lines = told(finals)[2:]
    assert lines[:2] == [
        "the fastest of the students that are not significantly below the highest mAP on the split select",
        "0 candidates: 0 trained in the race, 3 of them fully",
    ]
    assert lines[2] == f"fastest is {STUDENTS['fastest'][1]}: not measured"


def test_the_table_has_a_line_for_each_student(finals: dict[str, Any], tmp_path: Path) -> None:
    finals["search"]["students"].reverse()
    report, verdict = judged(finals)
    lines = student_lines(report.search, read_rows(report.rows), verdict)
    assert [line.student.model for line in lines] == ["student", "knee", "fastest"]
    assert lines[2].cells == (
        "fastest", STUDENTS["fastest"][1], "fastest", "64", "1.23", "53.6", "51.7", "+1.9 (+1.0 to +2.8)",
        "fastest-openvino-int8", "2.09", "51.4", "2.1",
    )  # fmt: skip
    page, text, facts = reports.write(finals, tmp_path)
    assert f"| {' | '.join(lines[2].cells)} |".replace("_", r"\_") in text
    assert "".join(f'<td class="number">{cell}</td>' for cell in lines[2].cells[9:]) in page
    assert facts["search"]["students"][0]["candidate"] == STUDENTS["knee"][1]
    for one in finals["search"]["screen"]:
        assert f'<th scope="row">{html.escape(one["candidate"])}</th>' in page


def test_a_report_without_a_search_says_nothing_of_students(example: reports.Written) -> None:
    page, text, facts = example
    assert facts["search"] is None
    for words in ("Which student?", "Students of the search", "candidates of the search", "budget of the search"):
        assert words not in page + text


def test_only_engines_of_the_bundle_are_deployed(finals: dict[str, Any], tmp_path: Path) -> None:
    for row in finals["rows"]:
        if row["model"] == "knee":
            row.update(map=0.6, vs_student_low=0.02, vs_student_high=0.06)
    page, _, facts = reports.write(finals, tmp_path)
    (verdict,) = facts["verdict"]
    assert verdict["engine"] == "openvino-int8"
    assert verdict["pareto_front"] == ["fastest-openvino-int8", "knee-openvino-int8"]
    at = [row["name"] for row in finals["rows"]].index("openvino-int8")
    assert set(re.findall(r'<g class="mark chosen" data-row="(\d+)"', page)) == {str(at)}


def test_the_budget_decides_and_a_miss_is_a_problem(finals: dict[str, Any]) -> None:
    finals["rows"][3].update(map=0.61, map_low=0.6, map_high=0.62)  # openvino-bf16, 5.67 ms: over the budget
    report, verdict = judged(finals)
    assert verdict.chosen is not None
    assert verdict.chosen.name == "openvino-int8"
    assert over_budget(read_rows(report.rows), report.search) is None
    finals["search"]["max_p90_ms"] = 4.0
    report, verdict = judged(finals)
    assert verdict.chosen is not None
    assert verdict.chosen.name == "openvino-bf16"
    problem = over_budget(read_rows(report.rows), report.search)
    assert problem is not None
    assert problem.claim == "No engine of the student keeps the budget of the search on this machine."
    assert problem.numbers.startswith("Closest is openvino-int8: p90 4.17 ms, 0.173 ms over.")
    kept = "knee-openvino-int8 keeps it: 3.34 ms with 54.1 mAP; publish that student with STUDENT=knee."
    assert problem.numbers.endswith(f" The engine to deploy is chosen without the budget. {kept}")
    finals["search"]["max_p90_ms"] = 1.0
    report, _ = judged(finals)
    problem = over_budget(read_rows(report.rows), report.search)
    assert problem is not None
    assert problem.numbers.endswith(" No other student of the search keeps it.")


@pytest.mark.parametrize("with_search", [True, False])
def test_the_model_card_says_one_line_about_the_search(
    finals: dict[str, Any], with_search: bool, tmp_path: Path
) -> None:
    if not with_search:
        finals["search"] = None
    write_card(
        bundles.manifest(bundles.engine("openvino-int8", OnnxRuntime(), ("models/fp32.onnx",))),
        read_report(finals),
        tmp_path / "card.md",
    )
    text = (tmp_path / "card.md").read_text(encoding="utf-8")
    assert ("A search within a budget chose this student from 12 candidates" in text) == with_search
    assert "fastest" not in text
