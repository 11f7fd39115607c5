"""The whole pipeline on scenes composed from drawn cut-outs."""

import json
import os
import random
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from export.backends.saturation_probe import kernels_saturate
from export.bundle.bundle import read_bundle
from export.bundle.manifest import ANY_PROCESSOR
from export.errors import BundleError
from export.tagger import Tagger
from export.tagger.engine_choice import backend_of
from mlkd.data.prepared import read_split
from pipeline.runner import result
from tests.helpers import commands, drawings
from tests.helpers.whole_run import facts, scored
from tests.test_torch_free import bare_program

STAGES = (
    "data", "teacher", "teacher_outputs", "student", "baseline", "onnx", "precisions",
    "engines", "bundle", "references", "bench", "report",
)  # fmt: skip


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
        lacking = backend_of(engine).unavailable_reason()
        if row["status"] == "measured":
            assert lacking is None
            assert 0 < row["engine_ms"]["p50"] < row["end_to_end_ms"]["max"]
        elif lacking is None:
            assert kernels_saturate()
            assert engine.meant_for != ANY_PROCESSOR
            assert row["reason"].startswith("wrong tags on this machine: this processor's int8 kernels saturate")
        else:
            assert (row["status"], row["reason"]) == ("built, not run", lacking)
    references = {name for name, row in rows.items() if row["kind"] == "reference"}
    assert references == {f"teacher-{name}" for name in ("onnxruntime-fp32", "onnxruntime-int8", "openvino-int8")}
    assert all(rows[name]["status"] == "measured" for name in references)
    assert rows["onnxruntime-fp32"]["delta_map"] == pytest.approx(0, abs=1e-3)
    assert any(row["status"] == "measured" and row["precision"] == "int8_openvino" for row in rows.values())


def test_the_engine_to_deploy_is_profiled(work: Path) -> None:
    measured = facts(work / "runs/tiny/report/report.json")
    times = measured["layer_times"]
    assert times["head"] == "label_decoder"
    assert times["engines"][0]["engine"] == measured["verdict"][0]["engine"]
    for engine in times["engines"]:
        assert engine["reason"] is None
        assert sum(part["share"] for part in engine["parts"]) == pytest.approx(1)
        assert {"preprocessing", "layer1", "layer4", "head"} <= {part["part"] for part in engine["parts"]}
    assert '<section id="layers">' in (work / "dist/tiny/report.html").read_text(encoding="utf-8")


def test_the_report_says_what_the_weights_depend_on(work: Path) -> None:
    made = result.read(work / "runs/tiny/student")
    assert made is not None
    text = "Trained on {cpu} ({instruction_set}), threads: {threads}: ".format(**made.made_with)
    notes = facts(work / "runs/tiny/report/report.json")["notes"]
    assert [note for note in notes if note.startswith(f"{text}teacher, student, baseline. ")]


def test_thresholds_belong_to_each_engine(work: Path) -> None:
    for engine in read_bundle(work / "dist/tiny").engines:
        runs = backend_of(engine).unavailable_reason() is None
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
    written = {"report.html", "report.md", "report.json", "measured.json", "MODEL_CARD.md", "tagger.json"}
    assert {*written, "sbom.cdx.json"} <= manifest.files.keys()
    assert len(manifest.golden) == 4
    assert manifest.recipe_content["student"]["model"]["image_px"] == manifest.image_px == 32
    assert str(work) not in (work / "dist/tiny/manifest.json").read_text(encoding="utf-8")
    tune = read_split(work / "runs/tiny/data", "tune")
    assert (manifest.tune_images, list(manifest.tune_positives)) == (len(tune), tune.targets.sum(0).tolist())
    card = (work / "dist/tiny/MODEL_CARD.md").read_text(encoding="utf-8")
    assert all(
        f"| {label} | {count} |" in card for label, count in zip(manifest.labels, manifest.tune_positives, strict=True)
    )


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_the_published_bundle_does_all_its_work_with_one_runtime(work: Path, tmp_path: Path, runtime: str) -> None:
    bundle = shutil.copytree(work / "dist/tiny", tmp_path / "bundle")
    program = bare_program(bundle, tmp_path / "packages", runtime)
    image = work / "runs/tiny/data/pictures/test/000001.jpg"

    def run(*words: object) -> str:
        environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
        command = [*program, *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout

    tagged = json.loads(run("tag", "--json", "--threshold", "0", image))
    assert {tag["label"] for tag in tagged["tags"]} == set(drawings.COLOURS)
    assert json.loads(run("info", "--json"))["chosen"]["engine"].startswith(runtime)
    run("selftest")
    (tmp_path / "list.txt").write_text(f"{image}\n")
    few = ["--queries", 4, "--warmup-s", 0.1]
    timed = run("bench", "--engine", f"{runtime}-int8", "--images", tmp_path / "list.txt", *few)
    assert json.loads(timed)["engine"] == f"{runtime}-int8"


def test_the_library_gives_the_scores_of_the_pipeline(work: Path) -> None:
    test, manifest = read_split(work / "runs/tiny/data", "test"), read_bundle(work / "dist/tiny")
    pixels, compared = np.array(test.pixels(32))[:8], 0
    for entry in manifest.engines:
        if backend_of(entry).unavailable_reason() is None:
            expected = scored(work / "runs/tiny/engines", entry, pixels)
            with Tagger.load(work / "dist/tiny", entry.name) as tagger:
                found = [dict(tagger.tag(file, threshold=0.0)) for file in test.files[:8]]
            listed = [[scores[label] for label in manifest.labels] for scores in found]
            np.testing.assert_allclose(listed, expected, atol=1e-6, rtol=0)
            compared += 1
    assert compared == 3


def test_one_flipped_byte_in_any_file_is_caught(work: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(work / "dist/tiny", tmp_path / "bundle")
    files = [file for file in bundle.rglob("*") if file.is_file()]
    assert len(files) > 20
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
