"""The teacher and the no-teacher student as bundles of their own, and what is told where that cannot be."""

from __future__ import annotations

import dataclasses
import errno
import json
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.accuracy import ReferenceScores
from benchmarks.device.tagger_process import ProcessFailedError, Program
from export.backends import OnnxRuntime, OpenVino
from export.bundle.bundle import PROGRAM, read_bundle
from export.precision.int8_x86 import int8_x86
from mlkd.core.files import sha256_of
from mlkd.core.labels import Labels
from mlkd.core.metrics import mean_average_precision
from mlkd.core.thresholds import Thresholds, tune
from mlkd.data.prepared import read_split
from mlkd.training import evaluate
from pipeline import stages, teachers
from pipeline.recipe.schema import DEFAULT_ENGINES, Engine, Recipe, load_recipe
from pipeline.references import bundles as reference_bundles
from pipeline.references import scores as floats
from pipeline.runner.result import read_json
from pipeline.runner.stage import Context
from pipeline.stages import bench, references
from tests.helpers import bundles, drawings, taggers

LABELS = Labels(tuple(sorted(drawings.COLOURS)))
ENGINES = tuple(engine for engine in DEFAULT_ENGINES if engine.name.startswith(("onnxruntime", "openvino")))
AIM = Thresholds(aim="precision", precision=0.7, prior=1e6)  # one threshold for all labels
BACKENDS = {engine.name: engine for engine in ENGINES if engine.name in ("onnxruntime-fp32", "openvino-int8")}
NAMES = ["onnxruntime-fp32", "onnxruntime-int8", "openvino-fp32", "openvino-int8"]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("drawn")
    drawings.draw(folder)
    read = load_recipe(str(drawings.write_recipe(folder, folder)))
    return dataclasses.replace(read, export=dataclasses.replace(read.export, engines=ENGINES, thresholds=AIM))


@pytest.fixture(scope="module")
def inputs(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What the stage reads: real images, nets with random weights, a bundle whose program is the real one."""
    runs = tmp_path_factory.mktemp("runs")
    stages.pipeline(recipe, runs).until("data").run()
    nets = {"teacher": 48, "baseline": 32, "student": 32}
    for seed, (net, px) in enumerate(nets.items()):
        taggers.save(runs / net, LABELS, seed=seed, image_px=px, bias=0.0)
    train = read_split(runs / "data", "train")
    (runs / "precisions").mkdir()
    chosen = dict(list(zip(train.names, train.hashes, strict=True))[3:40:3])
    (runs / "precisions" / "calibration.json").write_text(json.dumps({"sha256": chosen}))
    (runs / "bundle").mkdir()
    shipped = bundles.write_plain(runs / "plain", runs / "model", labels=LABELS.names, image_px=32)
    program = Path(shutil.copyfile(shipped / PROGRAM, runs / PROGRAM))
    with zipfile.ZipFile(program, "a") as archive:
        archive.writestr("of.txt", "an earlier day")
    golden = {"golden/1.png": read_split(runs / "data", "tune").files[0]}
    bundles.changed(shipped, runs / "bundle" / "bundle", {PROGRAM: program, **golden})
    return {name: runs / name for name in ("data", *nets, "precisions", "bundle")}


def run(recipe: Recipe, inputs: dict[str, Path], out: Path) -> Path:
    out.mkdir(exist_ok=True)
    references.run(recipe, Context(out, inputs, lambda *_: None))
    return out


@pytest.fixture(scope="module")
def made(recipe: Recipe, inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(recipe, inputs, tmp_path_factory.mktemp("references"))


@pytest.fixture
def exported(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The float graphs are there already: exporting takes most of the time."""

    def copied(tagger: Any, _: Labels, __: int, out: Path, **___: Any) -> Path:
        net = "teacher" if tagger.image_px == 48 else "baseline"
        return Path(shutil.copyfile(made / net / "models" / "fp32.onnx", out))

    monkeypatch.setattr(reference_bundles, "to_onnx", copied)


def fails(*_: Any, **__: Any) -> Any:
    raise RuntimeError("no such\noperator")


def test_nets_and_engines_have_scored_the_test_set(made: Path, inputs: dict[str, Path]) -> None:
    found, test = references.scored(made), read_split(inputs["data"], "test")
    nets = floats.read(made)
    for net in ("teacher", "baseline"):
        eager, manifest = evaluate.score_folder(inputs[net], test), read_bundle(made / net)
        np.testing.assert_allclose(nets[net].scores, eager, atol=1e-6)
        for engine in manifest.engines:
            result = found.results[f"{net}-{engine.name}"]
            assert (result.error, result.sha256) == (None, manifest.files[engine.file].sha256)
        np.testing.assert_allclose(np.load(found.folder / f"{net}-openvino-fp32.npy"), eager, atol=1e-4)
    assert nets["student"].thresholds.shape == (len(LABELS.names),)
    assert found.source.device == bench.HERE.name


def test_both_nets_have_the_engines_for_cpus(made: Path) -> None:
    assert read_json(made / references.FACTS)["failed"] == []
    assert sorted(folder.name for folder in made.iterdir() if folder.is_dir()) == [
        "baseline", "scores", "teacher", "torch",
    ]  # fmt: skip
    for net, names, px in (("teacher", NAMES, 48), ("baseline", NAMES, 32)):
        manifest = read_bundle(made / net)
        assert [engine.name for engine in manifest.engines] == names
        assert (manifest.image_px, manifest.labels) == (px, LABELS.names)


@pytest.mark.parametrize("net", ["teacher", "baseline"])
def test_the_shipped_program_runs_them(made: Path, inputs: dict[str, Path], tmp_path: Path, net: str) -> None:
    bundle, test = made / net, read_split(inputs["data"], "test")
    assert sha256_of(bundle / PROGRAM) == sha256_of(inputs["bundle"] / "bundle" / PROGRAM)
    listed = tmp_path / "images.txt"
    listed.write_text("".join(f"{file}\n" for file in test.files))
    engines = [word for name in NAMES for word in ("--engine", name)]
    program = Program([sys.executable, str(bundle / PROGRAM)], 100)
    told = program("scores", "--images", str(listed), "--out", str(tmp_path), *engines)
    assert {name: one["error"] for name, one in told.items()} == dict.fromkeys(NAMES)
    expected = evaluate.score_folder(inputs[net], test)
    for name in NAMES:
        found = np.load(tmp_path / f"{name}.npy")
        apart = np.abs(found - expected).max()
        assert apart < 1e-4 if "fp32" in name else 1e-4 < apart < 0.2, name


def test_thresholds_are_from_the_nets_own_scores_of_tune(made: Path, inputs: dict[str, Path]) -> None:
    split, nets = read_split(inputs["data"], "tune"), floats.read(made)
    for net in ("teacher", "baseline"):
        scores, manifest = evaluate.score_folder(inputs[net], split), read_bundle(made / net)
        own, entry = tune(scores, split.targets, AIM), manifest.engine("onnxruntime-fp32")
        np.testing.assert_allclose(entry.thresholds, own, atol=1e-4)
        np.testing.assert_allclose(nets[net].thresholds, own, atol=1e-6)
        assert (entry.thresholds_from, entry.thresholds_sha256) == (entry.name, manifest.files[entry.file].sha256)
        assert entry.tune_map == pytest.approx(mean_average_precision(scores, split.targets), abs=0.01)
        assert max(np.abs(own - tune(scores, split.targets, Thresholds()))) > 1e-2, "the aim matters"


def test_golden_images_are_what_these_engines_say_of_them(made: Path) -> None:
    for net in ("teacher", "baseline"):
        manifest = read_bundle(made / net)
        expected = np.load(made / net / manifest.golden_expected)
        for name, engine in BACKENDS.items():
            with engine.backend.open(made / net / manifest.engine(name).file) as session:
                found = session(expected["pixels_0"][None])
            np.testing.assert_allclose(found, expected[f"scores:{name}"], atol=1e-6)


@pytest.mark.usefixtures("exported")
def test_int8_is_calibrated_on_the_students_images(
    recipe: Recipe, inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[NDArray[np.uint8]] = []

    def note(_: Path, images: NDArray[np.uint8], out: Path) -> Path:
        seen.append(images)
        raise ValueError(f"{out.name} is not made")

    monkeypatch.setattr(reference_bundles, "MAKERS", {"int8_x86": note})
    engines = (Engine(name="x86", precision="int8_x86", backend=OnnxRuntime()),)
    run(dataclasses.replace(recipe, export=dataclasses.replace(recipe.export, engines=engines)), inputs, tmp_path)
    train = read_split(inputs["data"], "train")
    assert [len(images) for images in seen] == [13, 13]
    for images, px in zip(seen, (48, 32), strict=True):
        np.testing.assert_array_equal(images, train.pixels(px)[3:40:3])


@pytest.mark.usefixtures("exported")
def test_a_teacher_that_cannot_be_exported_is_told(
    recipe: Recipe, inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = reference_bundles.to_onnx

    def refused(tagger: Any, *arguments: Any, **options: Any) -> Path:
        return fails() if tagger.image_px == 48 else real(tagger, *arguments, **options)

    monkeypatch.setattr(reference_bundles, "to_onnx", refused)
    monkeypatch.setattr(reference_bundles, "MAKERS", {})
    folder = run(recipe, inputs, tmp_path)
    assert not (folder / "teacher").exists()
    assert read_bundle(folder / "baseline").engines
    failed = read_json(folder / references.FACTS)["failed"]
    reasons = {one["name"]: one["reason"] for one in failed if one["model"] == "teacher"}
    assert reasons == {f"teacher-{name}": "it cannot be exported: no such operator" for name in NAMES}


@pytest.mark.usefixtures("exported")
def test_what_failed_is_a_row_that_says_why(
    recipe: Recipe, inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference_bundles, "MAKERS", {"int8_x86": int8_x86, "int8_openvino": fails})
    folder = run(recipe, inputs, tmp_path)
    assert [engine.name for engine in read_bundle(folder / "teacher").engines] == NAMES[:-1], "the rest is there"
    nets = {
        net: ReferenceScores(np.zeros((1, 3), np.float32), np.zeros(3, np.float32)) for net in ("teacher", "student")
    }
    context = Context(tmp_path, {**inputs, "references": folder}, lambda *_: None)
    models = references.in_torch(recipe, context, nets)
    found = {engine.name: model for model in models for engine in model.runnable}
    in_torch = ["teacher-torch", "student-torch"]
    assert list(found) == [*in_torch, "teacher-openvino-int8", "baseline-openvino-int8"]
    model = found["baseline-openvino-int8"]
    row = model.engines[0].row
    assert (row.model, row.kind, row.threads) == ("baseline", "reference", 1)
    assert (row.runtime, row.precision) == ("openvino", "int8_openvino")
    with pytest.raises(ProcessFailedError, match=r"^no such operator$"):
        model.program("bench", "--engine", "baseline-openvino-int8", timeout_s=1)


def test_a_full_disk_ends_the_stage(
    recipe: Recipe, inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Path:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(reference_bundles, "to_onnx", full)
    with pytest.raises(OSError, match="no room"):
        run(recipe, inputs, tmp_path)


@pytest.mark.usefixtures("exported")
def test_only_a_single_teacher_of_ours_is_a_reference(
    recipe: Recipe, inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teachers, "alone", lambda *_: None)
    engines = (Engine(name="fp32", precision="fp32", backend=OpenVino()),)
    few = dataclasses.replace(recipe, export=dataclasses.replace(recipe.export, engines=engines))
    folder = run(few, inputs, tmp_path)
    assert [one.name for one in folder.iterdir() if (one / PROGRAM).exists()] == ["baseline"]
    assert references.notes(folder) == [], "nothing of int8 where there is none"


def test_int8_is_told_to_be_the_simplest(made: Path) -> None:
    (note,) = references.notes(made)
    assert "no other was tried" in note


def test_the_stage_runs_again_for_other_engines_and_another_program(recipe: Recipe) -> None:
    stage = references.stage(recipe)
    assert stage.reads == ("data", "teacher", "student", "baseline", "precisions", "bundle")
    assert [engine.name for engine in stage.config["engines"]] == NAMES
