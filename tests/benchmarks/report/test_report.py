"""The files: complete, escaped, self-contained."""

import copy
import html
import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.report import render
from benchmarks.report.markdown import escape_markdown
from benchmarks.schema import read_report
from tests.helpers import reports

HOSTILE = '<script>alert("1")</script>'
HOSTILE_FILE = '"></svg><img src=x onerror=alert(2)>|`[a](b)'


def renamed(bench: dict[str, Any]) -> dict[str, Any]:
    """The bench with hostile names for a label, an engine, an image, a fact and a note."""
    text = json.dumps(bench)
    for old, new in (("airplane", HOSTILE), ("openvino-int8", HOSTILE_FILE), ("test/00000.png", HOSTILE_FILE)):
        text = text.replace(json.dumps(old), json.dumps(new))
    hostile = json.loads(text)
    for row in hostile["rows"]:
        row["device"] = HOSTILE
    hostile["devices"][0]["name"] = HOSTILE
    hostile["recipe"] = "</title>" + HOSTILE
    hostile["devices"][0]["machine"][HOSTILE] = HOSTILE
    hostile["notes"].append("</script><!--" + HOSTILE)
    hostile["rows"][0]["runtime"] = HOSTILE_FILE
    hostile["rows"][5]["reason"] = HOSTILE
    freezing, parity = hostile["freezing"], hostile["freezing"]["parity"]
    freezing["precisions"][1] |= dict.fromkeys(("precision", "verdict", "calibrator"), HOSTILE_FILE)
    freezing["precisions"][1]["tried"] = {HOSTILE_FILE: 0.5}
    freezing["precisions"][1]["float_layers"][0]["layer"] = HOSTILE_FILE
    parity[1]["hurt"][0]["label"] = HOSTILE_FILE
    parity[5] |= {"engine": HOSTILE_FILE, "scored_by": HOSTILE_FILE + "2"}
    return hostile


def test_every_row_label_image_and_fact_is_told(bench: dict[str, Any], example: reports.Written) -> None:
    page, text, _ = example
    names = [row["name"] for row in bench["rows"]] + bench["labels"] + bench["notes"]
    told = [
        *names,
        *bench["devices"][0]["machine"],
        *bench["protocol"].values(),
        "composed",
        "built, not run",
        "relative only",
    ]
    assert [name for name in told if html.escape(name.replace("_", " ")) not in page.replace("_", " ")] == []
    assert [name for name in told[:-1] if escape_markdown(name) not in text] == []
    assert [image["name"] for image in bench["images"].values() if image["name"] not in page] == []


def test_numbers_reach_page_and_markdown(bench: dict[str, Any], tmp_path: Path) -> None:
    bench["rows"][0]["end_to_end_ms"]["p99"] = 77.77
    bench["rows"][0]["map_minor"] = 0.12345
    bench["distillation"]["labels"][3]["teacher"] = 0.9876
    page, text, _ = reports.write(bench, tmp_path)
    for number in ("77.8", "12.3", "98.8"):
        assert number in page
        assert number in text


def test_decisions_of_the_chosen_engine_are_told(bench: dict[str, Any], tmp_path: Path) -> None:
    for at, row in enumerate(bench["rows"]):
        if row["operating_points"]:
            row["operating_points"]["top_3"]["mean_recall"] = 0.3011 + at / 1000
    page, text, facts = reports.write(bench, tmp_path)
    chosen = [row["name"] for row in bench["rows"]].index(facts["verdict"][0]["engine"])
    number = f"{100 * (0.3011 + chosen / 1000):.1f}"
    assert f'<td class="number">{number}</td>' in page
    assert f" {number} |" in text
    assert "as many tags as are true" in page
    for row in bench["rows"]:
        row["operating_points"] = None
    page, text, _ = reports.write(bench, tmp_path)
    assert "as many tags as are true" not in page + text


def test_json_holds_the_facts_of_the_bench(bench: dict[str, Any], example: reports.Written) -> None:
    facts = copy.deepcopy(example.facts)
    assert facts == json.loads(json.dumps(bench)) | {"verdict": facts["verdict"]}
    (told,) = facts["verdict"]
    assert told.pop("why").startswith("4.17 ms end to end (p90) with 55.4 mAP: the fastest of 5 engines")
    assert told == {
        "device": "this machine",
        "engine": "openvino-int8",
        "runner_up": "openvino-bf16",
        "pareto_front": ["openvino-int8", "openvino-bf16", "openvino-fp32"],
    }


def test_nan_becomes_null(bench: dict[str, Any], tmp_path: Path) -> None:
    bench["rows"][0]["ap"][2] = float("nan")
    bench["rows"][0]["map"] = float("inf")
    *_, facts = reports.write(bench, tmp_path)
    assert facts["rows"][0]["ap"][2] is None
    assert facts["rows"][0]["map"] is None


def test_hostile_names_stay_text(bench: dict[str, Any], tmp_path: Path) -> None:
    page, text, facts = reports.write(renamed(bench), tmp_path)
    assert html.escape(HOSTILE) in page.replace("&#34;", "&quot;")
    assert page.count("<script") == 1
    assert page.count("</script") == 1
    assert "<img src=x" not in page
    assert page.count("<svg") == page.count("</svg")
    assert "<script" not in text
    assert "<img" not in text
    assert "\\|\\`\\[a\\](b)" in text
    assert facts["labels"][0] == HOSTILE
    tables = re.findall(r"(?:^\|.*\n)+", text, re.M)
    assert len(tables) > 3
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, "a name has added a column"


def test_page_needs_no_network(example: reports.Written) -> None:
    page = example.page
    assert re.findall(r"https?://", page) == []
    assert re.findall(r"url\(|@import|<link|<iframe", page) == []
    assert {address[:5] for address in re.findall(r' (?:src|href)="([^"#]*)"', page)} == {"data:"}


def test_static_chart_marks_what_ran_and_nothing_else(bench: dict[str, Any], example: reports.Written) -> None:
    page = example.page
    chart = page[page.index('class="plot wide"') :]
    chart = chart[: chart.index("</svg>")]
    marks = re.findall(r'<g class="mark[^"]*" data-row="(\d+)".*?<path class="point([^"]*)"', chart, re.S)
    hollow = {bench["rows"][int(at)]["name"]: "hollow" in kind for at, kind in marks}
    assert hollow == {row["name"]: row["kind"] == "reference" for row in bench["rows"] if row["status"] == "measured"}


def empty(bench: dict[str, Any]) -> dict[str, Any]:
    """The same keys with nothing measured."""
    bare = copy.deepcopy(bench)
    for row in bare["rows"]:
        row.update(
            {key: None for key in row if key not in ("name", "device", "kind", "model", "status")},
            status="built, not run",
        )
    for key in ("distillation", "int8_gain", "training", "freezing", "grid", "images", "mistakes"):
        bare[key] = None
    bare["protocol"] = bare["notes"] = bare["agreement"] = bare["devices"][0]["machine"] = None
    return bare


def test_nothing_measured_is_said(bench: dict[str, Any], tmp_path: Path) -> None:
    page, text, facts = reports.write(empty(bench), tmp_path)
    assert "no engine was measured" in page
    assert "No engine was measured" in text
    assert [(told["engine"], told["pareto_front"]) for told in facts["verdict"]] == [(None, [])]
    assert 'class="mark' not in page


def test_a_schema_alone_is_a_page(tmp_path: Path) -> None:
    page, text, _ = reports.write({"schema": 3}, tmp_path)
    assert "there is no chart" in page
    assert "What each tag paid" not in page
    assert "None" not in page + text


@pytest.mark.parametrize(
    "key",
    [
        "distillation",
        "int8_gain",
        "training",
        "freezing",
        "grid",
        "images",
        "mistakes",
        "agreement",
        "protocol",
        "notes",
    ],
)
def test_a_missing_section_leaves_the_rest(bench: dict[str, Any], tmp_path: Path, key: str) -> None:
    del bench[key]
    page, text, _ = reports.write(bench, tmp_path)
    assert "openvino-int8" in page
    assert "openvino-int8" in text


def test_another_schema_is_refused(bench: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected schema 3, got 1; run bench again"):
        render(read_report({**bench, "schema": 1}), tmp_path)


@pytest.mark.parametrize("text", ['"><b>', "PHN2Zz4="])  # no base64; base64 of another kind of image
def test_an_image_that_is_no_jpeg_is_refused(bench: dict[str, Any], tmp_path: Path, text: str) -> None:
    bench["images"]["p0"]["jpeg_base64"] = text
    with pytest.raises(ValueError, match=r"test/00000\.png\): expected a JPEG in base64"):
        render(read_report(bench), tmp_path)
    assert not list(tmp_path.iterdir())


def test_devices_and_what_they_lack_are_told(fleet: dict[str, Any], tmp_path: Path) -> None:
    fleet["rows"][-1]["map_from"] = {"device": "this machine", "instruction_set": "avx512_vnni"}
    page, text, facts = reports.write(fleet, tmp_path)
    for told in (page, text):
        assert "was not measured: ssh: lost: no route" in told
        assert "agrees with benchmark" in told
    assert "this machine: times are relative only" in page
    assert "board: times are" not in page
    assert page.count("mAP from this machine (avx512_vnni)") >= 1
    assert "mAP from this machine (avx512\\_vnni)" in text
    assert [told["device"] for told in facts["verdict"]] == ["this machine", "board"]
    assert page.count('<path class="front" data-device="1"') == 2  # wide and narrow


def test_a_harness_that_disagrees_is_not_called_agreeing(bench: dict[str, Any], tmp_path: Path) -> None:
    bench["agreement"].update(difference=0.08, agrees=False, null_ok=False)
    page, text, _ = reports.write(bench, tmp_path)
    for told in (page, text):
        assert "DISAGREES with benchmark" in told
        assert "WHICH IS TOO MUCH" in told
