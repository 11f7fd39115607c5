"""The whole line on scenes composed from what the test draws, uninterrupted and killed at random moments."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.report.problems import of_distillation
from export.bundle.bundle import parts_of, read_bundle
from export.bundle.manifest import ANY_PROCESSOR
from export.errors import BundleError
from export.tagger import Tagger
from export.tagger.engine_choice import backend_of
from export.tagger.saturation_check import kernels_saturate
from mlkd.data.prepared import read_split
from pipeline import stages
from pipeline.cli import choose
from pipeline.recipe.device_list import DeviceList, read_device_list
from pipeline.recipe.schema import load_recipe
from pipeline.runner import result
from tests.helpers import commands, drawings, sshd
from tests.test_torch_free import bare_program

ENGINES = """
  engines:
    - {name: onnxruntime-fp32, precision: fp32, backend: {kind: onnxruntime}}
    - {name: onnxruntime-int8, precision: int8_x86, backend: {kind: onnxruntime}}
    - {name: onnxruntime-int8-signed, precision: int8, backend: {kind: onnxruntime}}
    - {name: openvino-fp32, precision: fp32, backend: {kind: openvino}}
    - {name: openvino-int8, precision: int8_openvino, backend: {kind: openvino}}
    - {name: tensorrt-fp16-sm86, precision: fp16, backend: {kind: tensorrt, compute_capability: SM86}}
"""  # of each kind one, as every engine costs seconds
STAGES = (
    "data", "teacher", "teacher_outputs", "student", "baseline", "onnx", "precisions",
    "engines", "bundle", "references", "bench", "report",
)  # fmt: skip


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    drawings.draw(folder)
    return folder


@pytest.fixture(scope="module")
def work(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the line has run to its end."""
    folder = tmp_path_factory.mktemp("whole")
    write_recipe(drawn, folder)
    code, log = commands.run(folder, "bench", "--recipe", "tiny.yaml")
    assert code == 0, log
    return folder


def write_recipe(drawn: Path, folder: Path) -> None:
    recipe = drawings.write_recipe(drawn, folder)
    recipe.write_text(recipe.read_text().replace("export:\n", f"export:{ENGINES}"))


def facts(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def test_every_stage_is_whole(work: Path) -> None:
    results = {name: result.read(work / "runs/tiny" / name) for name in STAGES}
    assert all(results.values())
    assert sorted(path.name for path in (work / "runs/tiny").iterdir()) == sorted([".lock", *STAGES])


def test_engines_were_measured_or_say_why_not(work: Path) -> None:
    rows = {row["name"]: row for row in facts(work / "runs/tiny/bench/bench.json")["rows"]}
    manifest = read_bundle(work / "dist/tiny")
    assert [name for name in rows if rows[name]["kind"] == "engine"] == [engine.name for engine in manifest.engines]
    for engine in manifest.engines:
        row = rows[engine.name]
        assert row["sha256"] == manifest.files[engine.file].sha256
        lacking = backend_of(engine).missing()
        if row["status"] == "measured":
            assert lacking is None
            assert 0 < row["engine_ms"]["p50"] < row["end_to_end_ms"]["max"]
        elif lacking is None:
            assert kernels_saturate()
            assert engine.meant_for != ANY_PROCESSOR
            assert row["reason"].startswith("it gives wrong tags here: this processor's int8 kernels saturate")
        else:
            assert (row["status"], row["reason"]) == ("built, not run", lacking)
    references = {name for name, row in rows.items() if row["kind"] == "reference"}
    assert {"teacher-torch", "student-torch"} <= references
    assert {"teacher-onnxruntime-fp32", "teacher-openvino-int8", "baseline-onnxruntime-int8"} <= references
    assert all(rows[name]["status"] == "measured" for name in references)
    assert rows["onnxruntime-fp32"]["delta_map"] == pytest.approx(0, abs=1e-3)
    assert any(row["status"] == "measured" and row["precision"] == "int8_openvino" for row in rows.values())


def test_thresholds_belong_to_each_engine(work: Path) -> None:
    for engine in read_bundle(work / "dist/tiny").engines:
        runs = backend_of(engine).missing() is None
        cpu = "openvino" if engine.file.endswith(".xml") else "onnxruntime"
        scored = engine.file if cpu == "openvino" else f"models/{engine.precision}.onnx"
        assert engine.thresholds_from == (engine.name if runs else f"{cpu}, cpu, {scored}")
    by_name = {engine.name: engine.thresholds for engine in read_bundle(work / "dist/tiny").engines}
    assert by_name["onnxruntime-fp32"] != by_name["onnxruntime-int8"]


def test_calibration_is_of_train_only(work: Path) -> None:
    data = work / "runs/tiny/data"
    chosen = set(facts(work / "runs/tiny/precisions/calibration.json")["sha256"])
    assert len(chosen) == 16
    assert chosen <= set(read_split(data, "train").names)
    assert not chosen & {name for split in ("select", "tune", "test") for name in read_split(data, split).names}


def test_the_published_bundle_says_what_it_is(work: Path) -> None:
    manifest = read_bundle(work / "dist/tiny")
    assert manifest.measured
    assert manifest.composed
    assert {"report.html", "report.md", "report.json", "measured.json", "MODEL_CARD.md"} <= manifest.files.keys()
    assert len(manifest.golden) == 4
    assert manifest.recipe_content["student"]["model"]["image_px"] == manifest.image_px == 32
    assert str(work) not in (work / "dist/tiny/manifest.json").read_text(encoding="utf-8")
    tune = read_split(work / "runs/tiny/data", "tune")
    assert (manifest.tune_images, list(manifest.tune_positives)) == (len(tune), tune.targets.sum(0).tolist())
    card = (work / "dist/tiny/MODEL_CARD.md").read_text(encoding="utf-8")
    assert all(
        f"| {label} | {count} |" in card for label, count in zip(manifest.labels, manifest.tune_positives, strict=True)
    )


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_the_published_bundle_does_all_its_work_with_one_runtime(work: Path, tmp_path: Path, runtime: str) -> None:
    bundle = shutil.copytree(work / "dist/tiny", tmp_path / "bundle")
    program = bare_program(bundle, tmp_path / "packages", runtime)
    image = work / "runs/tiny/data/images/test/000001.jpg"

    def run(*words: object) -> str:
        environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
        command = [*program, *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout

    tagged = json.loads(run("tag", "--json", "--threshold", "0", image))
    assert {tag["label"] for tag in tagged["tags"]} == set(drawings.COLOURS)
    assert json.loads(run("info", "--json"))["chosen"]["engine"].startswith(runtime)
    run("selftest")
    (tmp_path / "list.txt").write_text(f"{image}\n")
    timed = run("bench", "--engine", f"{runtime}-fp32", "--images", tmp_path / "list.txt", "--queries", 4)
    assert json.loads(timed)["engine"] == f"{runtime}-fp32"


def test_the_library_gives_the_scores_of_the_pipeline(work: Path) -> None:
    test, manifest = read_split(work / "runs/tiny/data", "test"), read_bundle(work / "dist/tiny")
    pixels, compared = np.array(test.pixels(32))[:8], 0
    for entry in manifest.engines:
        if backend_of(entry).missing() is None:
            expected = scored(work / "runs/tiny/engines", entry, pixels)
            with Tagger.load(work / "dist/tiny", entry.name) as tagger:
                found = [dict(tagger.tag(file, threshold=0.0)) for file in test.files[:8]]
            listed = [[scores[label] for label in manifest.labels] for scores in found]
            np.testing.assert_allclose(listed, expected, atol=1e-6, rtol=0)
            compared += 1
    assert compared >= 5


def test_one_flipped_byte_in_any_file_is_caught(work: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(work / "dist/tiny", tmp_path / "bundle")
    files = [file for file in bundle.rglob("*") if file.is_file()]
    assert len(files) > 30
    for file in files:
        content = file.read_bytes()
        at = random.Random(file.name).randrange(len(content))
        file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(BundleError, match=r"expected .*, got "):
            read_bundle(bundle)
        file.write_bytes(content)
    read_bundle(bundle)


def test_what_was_measured_is_what_is_published(work: Path) -> None:
    measured, published = (read_bundle(work / place).files for place in ("runs/tiny/bundle/bundle", "dist/tiny"))
    assert measured.items() <= published.items()


def test_the_report_tells_what_distillation_gave(work: Path) -> None:
    compared = facts(work / "dist/tiny/report.json")["distillation"]
    assert compared["low"] <= compared["difference"] <= compared["high"]
    assert compared["difference"] == pytest.approx(compared["student_map"] - compared["baseline_map"])
    assert compared["major"].keys() == compared["minor"].keys() == {"teacher", "student", "baseline"}


def test_again_nothing_runs_and_nothing_changes(work: Path) -> None:
    before = times(work)
    code, log = commands.run(work, "bench", "--recipe", "tiny.yaml")
    assert code == 0, log
    assert log.count("unchanged, skipped") == len(STAGES)
    assert times(work) == before


def times(work: Path) -> dict[Path, int]:
    files = [file for place in ("runs", "dist") for file in (work / place).rglob("*") if file.name != ".lock"]
    return {file: file.stat().st_mtime_ns for file in files if file.is_file()}


def test_plan_after_a_change_names_it(work: Path) -> None:
    text = (work / "tiny.yaml").read_text()
    changed = work / "changed" / "tiny.yaml"
    changed.parent.mkdir()
    changed.write_text(text.replace("queries: 8", "queries: 9"))
    code, log = commands.run(work, "plan", "--recipe", "changed/tiny.yaml")
    assert code == 0, log
    lines = [line.split(maxsplit=2) for line in log.splitlines()]
    assert [line[1] for line in lines if line[0] == "run"] == ["bench", "report"]
    assert "bench.queries: 8 → 9" in log


def killed_runs(work: Path, verb: str, stages: list[str], rng: random.Random) -> None:
    """Kill a command, with all its children, a moment after each of the stages has started."""
    for stage in stages:
        started = commands.start(work, verb, "--recipe", "tiny.yaml")
        while started.running() and not (work / f"runs/tiny/{stage}.partial").exists():
            time.sleep(0.01)
        assert started.running(), f"ended before {stage} began: {started.wait()}"
        time.sleep(rng.uniform(0, 1.5))
        started.kill()


@pytest.mark.slow
def test_training_killed_at_random_ends_with_the_same_weights(work: Path, drawn: Path, tmp_path: Path) -> None:
    write_recipe(drawn, tmp_path)
    killed_runs(tmp_path, "distill", ["data", "teacher", "student"], random.Random(20))
    finished = {path.parent.name: path.stat().st_mtime_ns for path in tmp_path.glob("runs/tiny/*/stage.json")}
    code, log = commands.run(tmp_path, "distill", "--recipe", "tiny.yaml")
    assert code == 0, log
    for name, written in finished.items():
        if not name.endswith(".partial"):
            assert (tmp_path / "runs/tiny" / name / "stage.json").stat().st_mtime_ns == written
    for name in ("teacher/best", "teacher/last", "student/best", "student/last"):
        assert equal(work, tmp_path, f"runs/tiny/{name}.safetensors")


@pytest.mark.slow
def test_an_export_killed_at_random_ends_with_the_same_scores(work: Path, copied: Path) -> None:
    for stage in ("onnx", "engines", "bundle", "bench", "report"):
        shutil.rmtree(copied / "runs/tiny" / stage)
    shutil.rmtree(copied / "dist")
    killed_runs(copied, "export", ["onnx", "engines"], random.Random(20))
    code, log = commands.run(copied, "export", "--recipe", "tiny.yaml")
    assert code == 0, log
    assert equal(work, copied, "runs/tiny/onnx/fp32.onnx")
    assert "precisions: unchanged, skipped" in log
    assert equal_scores(work / "runs/tiny/bundle/bundle", copied / "dist/tiny", work / "runs/tiny/data") >= 5


def equal(first: Path, second: Path, path: str) -> bool:
    return result.sha256(first / path) == result.sha256(second / path)


def equal_scores(first: Path, second: Path, data: Path) -> int:
    """How many engines run here, each with equal scores and thresholds in both bundles."""
    pixels = np.array(read_split(data, "test").pixels(32))
    entries = [{engine.name: engine for engine in read_bundle(folder).engines} for folder in (first, second)]
    assert entries[0].keys() == entries[1].keys()
    counted = 0
    for name, entry in entries[0].items():
        assert entry.thresholds == entries[1][name].thresholds
        if backend_of(entry).missing() is None:
            scores = [scored(folder, entry, pixels) for folder in (first, second)]
            np.testing.assert_array_equal(*scores)
            counted += 1
    assert parts_of(first).sources.keys() == parts_of(second).sources.keys()
    return counted


def scored(folder: Path, entry: Any, pixels: np.ndarray) -> np.ndarray:
    with backend_of(entry).open(folder / entry.file) as session:
        return session(pixels)


def device_list(folder: Path, text: str) -> DeviceList:
    (folder / "devices.yaml").write_text(text)
    return read_device_list(folder / "devices.yaml")


@pytest.fixture
def copied(work: Path, tmp_path: Path) -> Path:
    """The finished line once more, for tests that go on with it."""
    return Path(shutil.copytree(work, tmp_path / "copied"))


@pytest.fixture
def ssh(server: sshd.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's ssh knows the server as `board`."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ssh").write_text(f'#!/bin/sh\nexec /usr/bin/{" ".join(server.command)} "$@"\n')
    (tmp_path / "bin/ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")


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
    recipe, folder = load_recipe("tiny.yaml"), copied / "runs/tiny"
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
    assert rows["pi", "openvino-fp32"]["status"] == "built, not run"
    assert rows["pi", "teacher-onnxruntime-fp32"]["kind"] == "reference"
    assert ("pi", "student-torch") not in rows
    page = (folder / "report/report.html").read_text()
    assert "no-such-host.invalid" in page
    choose.choose("tiny.yaml", copied / "runs", copied / "dist", device="pi")
    answer = capsys.readouterr().out
    assert "onnxruntime" in answer
    nets = [100 * told["distillation"][f"{net}_map"] for net in ("teacher", "student", "baseline")]
    wanted = "test mAP in float: teacher {:.1f}, student {:.1f}, student without a teacher {:.1f}\n".format(*nets)
    assert wanted in answer
    assert answer.count("problem: ") == len(of_distillation(told["distillation"]))

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


def test_a_device_that_failed_is_tried_again(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copied)
    found = device_list(tmp_path, "devices: [{name: gone, host: no-such-host.invalid, retries: 0}]")
    line = stages.pipeline(load_recipe("tiny.yaml"), copied / "runs/tiny", device_list=found)
    line.until("report").run()
    assert {decision.stage: decision.runs for decision in line.plan()} | {"bench": False, "devices": True} == {
        decision.stage: decision.runs for decision in line.plan()
    }
    assert result.read(copied / "runs/tiny/devices") is not None
