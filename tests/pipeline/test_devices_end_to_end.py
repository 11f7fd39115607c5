"""The bundle of a whole run measured on devices over ssh."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.report.problems import of_distillation
from benchmarks.schema import read_report
from pipeline import stages
from pipeline.__main__ import main
from pipeline.recipe.device_list import DeviceList, read_device_list
from pipeline.recipe.schema import Recipe, load_recipe
from pipeline.runner import result
from tests.helpers import sshd, web_runtime
from tests.helpers.chromium import PROGRAM
from tests.helpers.whole_run import facts


def device_list(folder: Path, text: str) -> DeviceList:
    (folder / "devices.yaml").write_text(text)
    return read_device_list(folder / "devices.yaml")


def with_all_references(work: Path) -> Recipe:
    """The recipe of the run, which has measured them."""
    text = (work / "tiny.yaml").read_text()
    (work / "tiny.yaml").write_text(text.replace("bench:\n  {", "bench:\n  {all_references: true, "))
    recipe = load_recipe("./tiny.yaml")
    stages.pipeline(recipe, work / "runs/tiny").until("report").run()
    return recipe


@pytest.mark.slow
def test_a_device_over_ssh_is_in_the_same_chart_and_one_that_fails_spoils_nothing(
    copied: Path, ssh: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(copied)
    python = sshd.bare_python(tmp_path / "bare")
    devices = [
        {"name": "desk"},
        {"name": "pi", "host": "board", "python": str(python), "folder": str(tmp_path / "store"), "retries": 0},
        {"name": "gone", "host": "no-such-host.invalid", "retries": 0},
    ]
    recipe, folder = with_all_references(copied), copied / "runs/tiny"
    bench = (folder / "bench/stage.json").stat().st_mtime_ns

    def run(listed: list[dict[str, Any]] | None) -> dict[str, Any]:
        found = device_list(tmp_path, json.dumps({"devices": listed})) if listed else None
        stages.pipeline(recipe, folder, device_list=found).until("report").run()
        return dict(facts(folder / "report/report.json"))

    told = run(devices)
    assert (folder / "bench/stage.json").stat().st_mtime_ns == bench, "a name is no reason to measure again"
    assert [(device["name"], device["status"]) for device in told["devices"]] == [
        ("desk", "measured"), ("pi", "measured"), ("gone", "failed"),
    ]  # fmt: skip
    assert "expected a name that can be resolved" in told["devices"][2]["reason"]
    rows = {(row["device"], row["name"]): row for row in told["rows"]}
    assert {row["device"] for row in told["rows"]} == {"desk", "pi"}
    assert ("desk", "student-torch") in rows
    here, there = rows["desk", "onnxruntime-fp32"], rows["pi", "onnxruntime-fp32"]
    assert there["status"] == "measured"
    assert there["sha256"] == here["sha256"]
    assert there["map"] == pytest.approx(here["map"], abs=1e-6)
    assert there["map_from"]["device"] == "pi"
    assert here["map_from"]["device"] == "desk"
    assert rows["pi", "openvino-int8"]["status"] == "built, not run"
    assert rows["pi", "teacher-onnxruntime-fp32"]["kind"] == "reference"
    assert ("pi", "student-torch") not in rows
    page = (folder / "report/report.html").read_text()
    assert "no-such-host.invalid" in page
    assert main(["choose", "tiny.yaml", "--device", "pi"]) == 0
    answer = capsys.readouterr().out
    assert "onnxruntime" in answer
    nets = [100 * told["distillation"][f"{net}_map"] for net in ("teacher", "student", "baseline")]
    wanted = "test mAP in float: teacher {:.1f}, student {:.1f}, student without a teacher {:.1f}\n".format(*nets)
    assert wanted in answer
    assert answer.count("problem: ") == len(of_distillation(read_report(told).distillation))

    samples = next((folder / "devices.work").glob("*/samples/onnxruntime-fp32.0.json"))
    measured = samples.stat().st_mtime_ns
    devices[2] |= {"host": "board", "python": str(python), "folder": str(tmp_path / "other")}
    assert [device["status"] for device in run(devices)["devices"]] == ["measured"] * 3
    assert samples.stat().st_mtime_ns == measured, "a device that is whole is not asked again"
    stages.pipeline(recipe, folder, frozenset(["report"])).until("report").run()
    assert [device["name"] for device in facts(folder / "report/report.json")["devices"]] == [
        "this machine",
        "pi",
        "gone",
    ]


@pytest.mark.slow
def test_a_browser_is_in_the_same_chart(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if PROGRAM is None:
        pytest.skip("chromium missing: make system")
    web_runtime.install()
    monkeypatch.chdir(copied)
    found = device_list(tmp_path, "devices: [{name: desk}, {name: Chromium here, kind: browser}]")
    line = stages.pipeline(load_recipe("tiny.yaml"), copied / "runs/tiny", device_list=found).until("report")
    line.run()
    assert [decision.stage for decision in line.plan() if decision.runs] == []
    told = facts(copied / "runs/tiny/report/report.json")
    rows = {(row["device"], row["name"]): row for row in told["rows"]}
    for name in ("onnxruntime-fp32", "onnxruntime-int8", "teacher-onnxruntime-int8"):
        here, page = rows["desk", name], rows["Chromium here", name]
        assert (page["status"], page["sha256"]) == ("measured", here["sha256"])
        assert page["map"] == pytest.approx(here["map"], abs=1e-3)
        assert page["end_to_end_ms"]["p90"] > 0
    assert rows["Chromium here", "openvino-int8"]["status"] == "built, not run"
    assert [one["device"] for one in told["verdict"]] == ["desk", "Chromium here"]


def test_a_device_that_failed_is_tried_again(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copied)
    found = device_list(tmp_path, "devices: [{name: gone, host: no-such-host.invalid, retries: 0}]")
    line = stages.pipeline(load_recipe("tiny.yaml"), copied / "runs/tiny", device_list=found)
    line.until("report").run()
    assert {decision.stage: decision.runs for decision in line.plan()} | {"bench": False, "devices": True} == {
        decision.stage: decision.runs for decision in line.plan()
    }
    assert result.read(copied / "runs/tiny/devices") is not None
