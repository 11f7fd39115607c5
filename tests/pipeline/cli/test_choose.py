"""The command choose on reports of this and of an earlier version."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.parsing import to_json
from benchmarks.sections import Distillation, PairedDifference, SearchResult, SearchStudent
from pipeline.__main__ import main
from tests.helpers.rows import measured


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write_report(**content: Any) -> None:
    file = Path("runs/scenes/report/report.json")
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(content))


def test_a_report_without_its_optional_fields_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    row = {key: value for key, value in to_json(measured("int8", 2.0, 0.5)).items() if value is not None}
    write_report(schema=3, rows=[row, {"name": "gpu", "device": "here", "kind": "engine", "reason": "no GPU"}])
    assert main(["choose", "--device", "here", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["engine"], answer["teacher_map"], answer["problems"]) == ("int8", None, [])
    assert answer["refused"] == [["gpu", "built, not run: no GPU"]]
    assert (answer["student"], answer["candidate"]) == ("student", None)
    assert main(["choose", "--device", "here"]) == 0
    assert "test mAP in float: teacher –, student –" in capsys.readouterr().out


def test_a_student_that_is_not_in_the_bundle_is_named_with_the_command_that_exports_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [measured("int8", 2.0, 0.5), measured("fastest-int8", 1.0, 0.4, model="fastest")]
    own = SearchStudent(model="student", candidate="student-64px", image_px=64)
    gain = PairedDifference(difference=-0.01, low=-0.015, high=-0.005)
    fastest = replace(own, model="fastest", candidate="fastest-64px", student_map=0.41, baseline_map=0.42, **vars(gain))
    search = to_json(SearchResult(max_p90_ms=3.0, students=[own, fastest]))
    bundled = to_json(Distillation(student_map=0.5, baseline_map=0.4))
    write_report(schema=3, rows=to_json(rows), search=search, distillation=bundled)
    command = ["choose", "--device", "here"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("int8 on here: ")
    assert "student: student-64px, in the bundle\n" in printed
    assert "student 50.0, student without a teacher 40.0\n" in printed
    assert "Another student" not in printed, "the faster one tags worse"
    assert main([*command, "--max-p90-ms", "1.5"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("fastest-int8 on here: ")
    assert "test mAP in float: teacher –, student 41.0, student without a teacher 42.0\n" in printed
    claim = "The student is worse than the same network trained without a teacher. mAP 41.0 with the teacher, 42.0"
    assert f"problem: {claim}" in printed
    step = "`make export RECIPE=scenes STUDENT=fastest-64px` publishes it"  # another search may change the role
    assert f"student: fastest, fastest-64px: {step}\n" in printed
    assert main([*command, "--max-p90-ms", "1.5", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["student"], answer["candidate"], answer["engine"]) == ("fastest", "fastest-64px", "fastest-int8")


def test_the_engine_of_a_finalist_is_chosen_by_its_role_or_candidate(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [measured("int8", 2.0, 0.5), measured("knee-int8", 1.8, 0.3, model="knee")]
    students = [
        SearchStudent(model="student", candidate="a-64px", roles=["best"], image_px=64),
        SearchStudent(model="knee", candidate="b-32px", roles=["knee"], image_px=32),
    ]
    write_report(schema=3, rows=to_json(rows), search=to_json(SearchResult(max_p90_ms=3.0, students=students)))
    for name, engine in {"knee": "knee-int8", "b-32px": "knee-int8", "best": "int8", "a-64px": "int8"}.items():
        assert main(["choose", "--device", "here", "--student", name]) == 0
        assert capsys.readouterr().out.startswith(f"{engine} on here: ")
    assert main(["choose", "--device", "here", "--student", "knee", "--min-map", "40"]) == 2
    assert "closest is knee-int8 (mAP 30.0, 10.00 points short)" in capsys.readouterr().err
    assert main(["choose", "--device", "here", "--student", "fastest"]) == 2
    message = "student: expected a finalist, best (a-64px), knee (b-32px), got 'fastest'; name one"
    assert message in capsys.readouterr().err


def test_an_engine_that_fails_is_a_problem(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = replace(measured("int8", 2.0, 0.5), status="failed", reason="wrong tags on this machine: …")
    write_report(schema=3, rows=to_json([measured("fp32", 4.0, 0.5), wrong]))
    assert main(["choose", "--device", "here"]) == 0
    problem = "problem: 1 engine of the bundle cannot be used on here. int8: wrong tags on this machine: …."
    assert problem in capsys.readouterr().out


def test_another_student_that_is_faster_and_as_good_is_a_problem(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [measured("int8", 2.0, 0.5), measured("knee-int8", 1.8, 0.499, model="knee")]
    students = [SearchStudent(model=model, candidate=f"{model}-64px", image_px=64) for model in ("student", "knee")]
    write_report(schema=3, rows=to_json(rows), search=to_json(SearchResult(max_p90_ms=3.0, students=students)))
    assert main(["choose", "--device", "here"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("int8 on here: ")
    assert (
        "problem: Another student of the search is faster and tags as well: knee. knee-int8 takes 1.80 ms, " in printed
    )


def test_a_budget_that_no_engine_keeps_is_a_problem(capsys: pytest.CaptureFixture[str]) -> None:
    search = to_json(SearchResult(max_p90_ms=1.0))
    write_report(schema=3, rows=[to_json(measured("int8", 2.0, 0.5))], search=search)
    assert main(["choose", "--device", "here"]) == 0
    problem = "problem: No engine of the student keeps the budget of the search on here. Closest is int8: p90 2.00 ms"
    assert problem in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"schema": 2}, "report: expected schema 3, got 2; run bench again"),
        ({"schema": 3, "rows": [{"name": 4}]}, "report: rows: [0]: name: expected text, got 4; run bench again"),
    ],
)
def test_another_report_is_refused(content: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_report(**content)
    assert main(["choose"]) == 2
    assert message in capsys.readouterr().err
