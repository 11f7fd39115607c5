"""The command choose on reports of this and of an earlier version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.parsing import to_json
from pipeline.cli.choose import choose
from tests.helpers.rows import measured


def write_report(runs: Path, **content: Any) -> None:
    (runs / "scenes/report").mkdir(parents=True)
    (runs / "scenes/report/report.json").write_text(json.dumps(content))


def test_a_report_without_its_optional_fields_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {key: value for key, value in to_json(measured("int8", 2.0, 0.5)).items() if value is not None}
    write_report(
        tmp_path, schema=3, rows=[row, {"name": "gpu", "device": "here", "kind": "engine", "reason": "no GPU"}]
    )
    choose("scenes", tmp_path, tmp_path / "dist", device="here", as_json=True)
    answer = json.loads(capsys.readouterr().out)
    assert (answer["engine"], answer["teacher_map"], answer["problems"]) == ("int8", None, [])
    assert answer["refused"] == [["gpu", "built, not run: no GPU"]]
    choose("scenes", tmp_path, tmp_path / "dist", device="here")
    assert "test mAP in float: teacher –, student –" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"schema": 2}, "report: expected schema 3, got 2; run bench again"),
        ({"schema": 3, "rows": [{"name": 4}]}, r"report: rows: \[0\]: name: expected text, got 4; run bench again"),
    ],
)
def test_another_report_is_refused(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    write_report(tmp_path, **content)
    with pytest.raises(ValueError, match=message):
        choose("scenes", tmp_path, tmp_path / "dist", device="here")
