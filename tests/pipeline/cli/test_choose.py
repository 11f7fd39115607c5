"""The command choose on reports of this and of an earlier version."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.parsing import to_json
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
    assert main(["choose", "--device", "here"]) == 0
    assert "test mAP in float: teacher –, student –" in capsys.readouterr().out


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
