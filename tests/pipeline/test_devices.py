"""devices.yaml, and the stage that measures on what it lists: here over ssh to this machine."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.devices import DeviceEntry
from pipeline import choosing, measuring, result, stages
from pipeline.config import ConfigError
from pipeline.devices import Shelf, read_shelf
from pipeline.recipe import load_recipe
from tests import commands, drawings, sshd

FULL = """devices:
  - {name: desk, threads: 2, power_mode: quiet}
  - name: pi
    host: me@pi5
    port: 2222
    python: /usr/bin/python3.12
    folder: /data/tagger
    runtimes: [onnxruntime]
    rebuild: true
"""


def shelf(folder: Path, text: str) -> Shelf:
    (folder / "devices.yaml").write_text(text)
    return read_shelf(folder / "devices.yaml")


def test_a_list_is_read(tmp_path: Path) -> None:
    found = shelf(tmp_path, FULL)
    assert found.here == DeviceEntry(name="desk", threads=2, power_mode="quiet")
    assert [(entry.name, entry.host, entry.port, entry.runtimes) for entry in found.others] == [
        ("pi", "me@pi5", 2222, ("onnxruntime",))
    ]


def test_without_an_entry_this_machine_is_measured_all_the_same(tmp_path: Path) -> None:
    assert shelf(tmp_path, "devices: [{name: pi, host: pi5}]").here == measuring.HERE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("devices: []", "at least one and distinct names, got \\[\\]"),
        ("devices: [{name: a, host: b}, {name: a, host: c}]", "distinct names, got \\['a', 'a'\\]"),
        ("devices: [{name: a}, {name: b}]", "one entry without a host at most"),
        ("devices: [{name: a}, {name: this machine, host: b}]", "another name for one with a host, got 'this machine'"),
        ("devices: [{name: a, hots: b}]", "devices.0.hots: expected one of .*did you mean host"),
        ("devices: [{name: a, host: -oProxyCommand=sh}]", "host: expected a Host or user@address"),
        ("devices: [{name: a, host: b, runtimes: [tflite]}]", "runtimes: expected some of onnxruntime"),
        ("- a", "a valid list of devices"),
    ],
)
def test_a_list_with_a_fault_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        shelf(tmp_path, text)


def test_a_list_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"devices: expected a YAML file, got nothing at .*none\.yaml; check DEVICES"):
        read_shelf(tmp_path / "none.yaml")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Server]:
    if sshd.PROGRAM is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("sshd missing: make system")
    with sshd.Server(tmp_path_factory.mktemp("ssh") / "server") as server:
        yield server


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the line has run up to the bench."""
    folder = tmp_path_factory.mktemp("whole")
    drawings.draw(folder / "drawn")
    drawings.write_recipe(folder / "drawn", folder)
    (folder / "named.yaml").write_text("devices: [{name: first}]")
    code, log = commands.run(folder, "bench", "--recipe", "tiny.yaml", "--devices", "named.yaml")
    assert code == 0, log
    return folder


def facts(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


@pytest.fixture
def ssh(server: sshd.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's ssh knows the server as `board`."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ssh").write_text(f'#!/bin/sh\nexec /usr/bin/{" ".join(server.command)} "$@"\n')
    (tmp_path / "bin/ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")


def test_a_device_over_ssh_is_in_the_same_chart_and_one_that_fails_spoils_nothing(
    work: Path, ssh: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(work)
    python = sshd.bare_python(tmp_path / "bare")
    devices = [
        {"name": "desk"},
        {"name": "pi", "host": "board", "python": str(python), "folder": str(tmp_path / "store"), "retries": 0},
        {"name": "gone", "host": "no-such-host.invalid", "retries": 0},
    ]
    recipe, folder = load_recipe("tiny.yaml"), work / "runs/tiny"
    bench = (folder / "bench/stage.json").stat().st_mtime_ns

    def run(listed: list[dict[str, Any]] | None) -> dict[str, Any]:
        found = shelf(tmp_path, json.dumps({"devices": listed})) if listed else None
        stages.line(recipe, folder, shelf=found).until("report").run()
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
    assert rows["pi", "openvino-fp32"]["status"] == "built, not run"
    assert rows["pi", "teacher-onnxruntime-fp32"]["kind"] == "reference"
    assert ("pi", "student-torch") not in rows
    page = (folder / "report/report.html").read_text()
    assert "no-such-host.invalid" in page
    choosing.choose("tiny.yaml", work / "runs", work / "dist", device="pi")
    assert "onnxruntime" in capsys.readouterr().out

    samples = next((folder / "devices.work").glob("*/samples/onnxruntime-fp32.0.json"))
    measured = samples.stat().st_mtime_ns
    devices[2] |= {"host": "board", "python": str(python), "folder": str(tmp_path / "other")}
    assert [device["status"] for device in run(devices)["devices"]] == ["measured"] * 3
    assert samples.stat().st_mtime_ns == measured, "a device that is whole is not asked again"
    stages.line(recipe, folder, frozenset(["report"])).until("report").run()
    assert [device["name"] for device in facts(folder / "report/report.json")["devices"]] == [
        "this machine",
        "pi",
        "gone",
    ]


def test_a_device_that_failed_is_tried_again(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(work)
    found = shelf(tmp_path, "devices: [{name: gone, host: no-such-host.invalid, retries: 0}]")
    line = stages.line(load_recipe("tiny.yaml"), work / "runs/tiny", shelf=found)
    line.until("report").run()
    assert {decision.stage: decision.runs for decision in line.plan()} | {"bench": False, "devices": True} == {
        decision.stage: decision.runs for decision in line.plan()
    }
    assert result.read(work / "runs/tiny/devices") is not None
