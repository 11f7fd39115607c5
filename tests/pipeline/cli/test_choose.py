"""The command choose on reports of this and of an earlier version."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.parsing import to_json
from benchmarks.sections import SearchResult, SearchStudent
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
    students = [SearchStudent(model=model, candidate=f"{model}-64px", image_px=64) for model in ("student", "fastest")]
    write_report(schema=3, rows=to_json(rows), search=to_json(SearchResult(max_p90_ms=3.0, students=students)))
    command = ["choose", "--device", "here"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("int8 on here: ")
    assert "student: student-64px, in the bundle\n" in printed
    assert "Another student" not in printed, "the faster one tags worse"
    assert main([*command, "--max-p90-ms", "1.5"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("fastest-int8 on here: ")
    step = "`make export RECIPE=scenes STUDENT=fastest-64px` publishes it"  # another search may change the role
    assert f"student: fastest, fastest-64px: {step}\n" in printed
    assert main([*command, "--max-p90-ms", "1.5", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["student"], answer["candidate"], answer["engine"]) == ("fastest", "fastest-64px", "fastest-int8")


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
