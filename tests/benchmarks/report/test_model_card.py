from pathlib import Path
from typing import Any

import pytest

from benchmarks.report import write_card
from benchmarks.schema import DeviceFacts, Report, Row
from export.backends import OnnxRuntime
from tests.helpers import bundles
from tests.helpers.rows import measured as measured_row

FLOAT, INT8 = "onnxruntime-fp32", "onnxruntime-int8"


def engine(name: str, **changes: Any) -> Any:
    return bundles.engine(name, OnnxRuntime(), ("models/fp32.onnx",), **changes)


def row(name: str, p90: float | None, **fields: Any) -> Row:
    known = {"device": "mini-PC", "threads": 1, "bytes": 2_000_000, "ap": [0.7, 0.2, None]} | fields
    if p90 is None:
        return Row(**{"name": name, "kind": "engine", "reason": "no such GPU"} | known)
    return measured_row(name, p90, map_low=0.48, map_high=0.52, **known)


def measured(*rows: Row) -> Report:
    machine = {"cpu": "N100", "comparable": "relative only: a virtual machine"}
    return Report(schema=3, devices=[DeviceFacts(name="mini-PC", machine=machine)], rows=list(rows))


def card(tmp_path: Path, report: Report, **changes: Any) -> str:
    engines = (engine(FLOAT), engine(INT8, thresholds=(0.25, 0.125, 0.0625)))
    write_card(bundles.manifest(*engines, **changes), report, tmp_path / "card.md")
    return (tmp_path / "card.md").read_text(encoding="utf-8")


def table_line(text: str, first: str) -> list[str]:
    found = [line for line in text.splitlines() if line.startswith(f"| {first} |")]
    assert len(found) == 1
    return [cell.strip() for cell in found[0].strip("|").split("|")]


def test_labels_are_those_of_the_engine_to_ship(tmp_path: Path) -> None:
    text = card(tmp_path, measured(row(FLOAT, 3.0), row(INT8, 1.5)))
    assert "As onnxruntime-int8 tags." in text
    assert "Deploy on mini-PC: **onnxruntime-int8**, 50.0 mAP in 1.50 ms" in text
    assert table_line(text, "red") == ["red", "5", "70.0", "0.250", "90.0 %", "70.0 %"]
    assert table_line(text, "blue") == ["blue", "0", "–", "0.062", "–", "–"]


def test_every_engine_is_told_with_its_state(tmp_path: Path) -> None:
    text = card(tmp_path, measured(row(FLOAT, 3.0), row(INT8, None)))
    assert table_line(text, FLOAT)[1:3] == ["measured", "50.0 (48.0 to 52.0)"]
    assert table_line(text, INT8)[1:3] == ["built, not run", "–"]
    assert "never run on a machine that was measured: onnxruntime-int8." in text
    assert "mini-PC (N100; relative only: a virtual machine)" in text


def test_one_that_failed_is_no_untried_one(tmp_path: Path) -> None:
    failed = row(INT8, None, status="failed", reason="no answer within 600 s")
    text = card(tmp_path, measured(row(FLOAT, 3.0), failed))
    assert table_line(text, INT8)[1] == "failed"
    assert "Failed where they were measured: onnxruntime-int8;" in text
    assert "never run" not in text
    elsewhere = row(INT8, 3.0, device="Pi")
    text = card(tmp_path, measured(row(FLOAT, 3.0), failed, elsewhere))
    assert "Failed where" not in text


def test_one_that_was_built_where_it_was_measured_is_not_the_shipped_one(tmp_path: Path) -> None:
    text = card(tmp_path, measured(row(FLOAT, 3.0), row(INT8, 1.5, built_here=True)))
    assert [table_line(text, name)[1] for name in (FLOAT, INT8)] == ["measured", "measured, built there"]


def test_limits_name_the_worst_and_the_rare_labels(tmp_path: Path) -> None:
    text = card(tmp_path, measured(row(FLOAT, 3.0), row(INT8, None)), tune_positives=(500, 19, 20))
    assert "Worst labels: green (20.0 AP), red (70.0 AP)." in text
    assert "Fewer than 20 images tuned the threshold of: green. It leans" in text


def test_licences_weights_and_composed_images_are_told(tmp_path: Path) -> None:
    facts = measured(row(FLOAT, 3.0))
    text = card(tmp_path, facts, licences=("CC-BY 4.0",), weights=("student: set by hand",))
    assert "- Images: CC-BY 4.0" in text
    assert "- First weights: student: set by hand" in text
    assert "trained and tested on composed scenes" in text
    assert "composed scenes" not in card(tmp_path, facts, composed=False)
    assert "- Images: nobody has said under which licence they are." in card(tmp_path, facts, licences=())
    assert "nobody has said" not in text


@pytest.mark.parametrize(("aim", "told"), [("f1", "for F1"), ("precision", "for a precision of at least 90.0 %")])
def test_the_aim_of_the_thresholds_is_told(tmp_path: Path, aim: str, told: str) -> None:
    content = {"export": {"thresholds": {"aim": aim, "precision": 0.9}}}
    assert told in card(tmp_path, measured(row(FLOAT, 3.0)), recipe_content=content)


def test_a_label_cannot_write_into_the_card(tmp_path: Path) -> None:
    names = ("a | b", "<script>x</script>", "[link](http://x)")
    text = card(tmp_path, measured(row(FLOAT, 3.0)), labels=names)
    assert "<script>" not in text
    assert "[link](" not in text
    assert "| a \\| b |" in text


def test_a_bench_that_measured_nothing_still_has_a_card(tmp_path: Path) -> None:
    text = card(tmp_path, measured(row(FLOAT, None), row(INT8, None)))
    assert "Deploy on" not in text
    assert table_line(text, "red") == ["red", "5", "–", "0.500", "90.0 %", "70.0 %"]
