"""What a whole run has of teacher and baseline, and rows with the reason where an engine cannot be made."""

import dataclasses
import errno
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.accuracy import ReferenceScores
from benchmarks.device.tagger_process import ProcessFailedError
from export.backends import OpenVino
from export.bundle.bundle import PROGRAM, read_bundle
from mlkd.core.files import sha256_of
from mlkd.core.metrics import mean_average_precision
from mlkd.core.progress import silent
from mlkd.core.thresholds import Thresholds, tune
from mlkd.data.prepared import read_split
from mlkd.training import evaluate
from pipeline import teachers
from pipeline.declarations import export
from pipeline.recipe.schema import DEFAULT_ENGINES, Engine, Recipe, load_recipe
from pipeline.references import model_bundle
from pipeline.references import scores as reference_scores
from pipeline.runner.result import read_json
from pipeline.runner.stage import Context
from pipeline.stages import bench, references
from pipeline.stages.precisions import CALIBRATION
from tests.helpers import bundles, drawings
from tests.helpers.whole_run import scored as scored_by

NAMES = ["onnxruntime-fp32", "onnxruntime-int8", "openvino-int8"]
EXPORTED = {"teacher": 48, "baseline": 32}  # image size


@pytest.fixture(scope="module")
def recipe(work: Path) -> Recipe:
    """That of the run, which has the teacher's engines, with all references."""
    recipe = load_recipe(str(work / "tiny.yaml"))
    return dataclasses.replace(recipe, bench=dataclasses.replace(recipe.bench, all_references=True))


def with_engines(recipe: Recipe, *engines: Engine) -> Recipe:
    return dataclasses.replace(recipe, export=dataclasses.replace(recipe.export, engines=engines))


@pytest.fixture(scope="module")
def inputs(work: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Those of the stage, but for a bundle whose program differs from today's."""
    folder, runs = tmp_path_factory.mktemp("inputs"), work / "runs/tiny"
    program = Path(shutil.copyfile(runs / "bundle/bundle" / PROGRAM, folder / PROGRAM))
    with zipfile.ZipFile(program, "a") as archive:
        archive.writestr("of.txt", "an earlier day")
    bundles.changed(runs / "bundle/bundle", folder / "bundle", {PROGRAM: program})
    return {name: runs / name for name in ("data", "teacher", "student", "baseline", "precisions")} | {"bundle": folder}


def run(recipe: Recipe, inputs: dict[str, Path], out: Path) -> Path:
    out.mkdir(exist_ok=True)
    references.run(recipe, Context(out, inputs, silent))
    return out


@pytest.fixture(scope="module")
def made(work: Path) -> Path:
    return work / "runs/tiny/references"


@pytest.fixture
def exported(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exporting and scoring in torch take most of the time: float graphs of the run are copied, the scores left out."""
    graphs = {48: made / "teacher/models/fp32.onnx", 32: made.parent / "onnx/fp32.onnx"}

    def copied(tagger: Any, _: Any, __: int, out: Path, **___: Any) -> Path:
        return Path(shutil.copyfile(graphs[tagger.image_px], out))

    monkeypatch.setattr(model_bundle, "to_onnx", copied)
    monkeypatch.setattr(reference_scores, "write", lambda *_: None)


def fails(*_: Any, **__: Any) -> Any:
    raise RuntimeError("no such\noperator")


def test_models_and_engines_have_scored_the_test_set(made: Path, inputs: dict[str, Path]) -> None:
    scored, test, manifest = references.scored(made), read_split(inputs["data"], "test"), read_bundle(made / "teacher")
    models = reference_scores.read(made)
    eager = {model: evaluate.score_folder(inputs[model], test) for model in (*EXPORTED, "student")}
    for model, scores in eager.items():
        np.testing.assert_allclose(models[model].scores, scores, atol=1e-6)
    for name in NAMES:
        result = scored.results[f"teacher-{name}"]
        assert (result.error, result.sha256) == (None, manifest.files[manifest.engine(name).file].sha256)
        difference = np.abs(np.load(scored.folder / f"teacher-{name}.npy") - eager["teacher"]).max()
        assert difference < 1e-4 if "fp32" in name else 1e-4 < difference < 0.2, name
    assert scored.source.device == bench.HERE.name


def test_the_teacher_has_the_engines_for_cpus(made: Path) -> None:
    assert read_json(made / references.FACTS)["failed"] == []
    assert {folder.name for folder in made.iterdir() if folder.is_dir()} == {"teacher", "scores", "torch"}
    manifest = read_bundle(made / "teacher")
    assert [engine.name for engine in manifest.engines] == NAMES
    assert (manifest.image_px, manifest.labels) == (EXPORTED["teacher"], tuple(sorted(drawings.COLOURS)))
    (note,) = references.notes(made)
    assert "no other was tried" in note


def test_thresholds_are_tuned_on_the_models_own_scores(recipe: Recipe, made: Path, inputs: dict[str, Path]) -> None:
    split, models = read_split(inputs["data"], "tune"), reference_scores.read(made)
    for model in EXPORTED:
        scores = evaluate.score_folder(inputs[model], split)
        own = tune(scores, split.targets, recipe.export.thresholds)
        np.testing.assert_allclose(models[model].thresholds, own, atol=1e-6)
        assert max(np.abs(own - tune(scores, split.targets, Thresholds()))) > 1e-2, "the aim matters"
    manifest = read_bundle(made / "teacher")
    entry, scores = manifest.engine(NAMES[0]), evaluate.score_folder(inputs["teacher"], split)
    np.testing.assert_allclose(entry.thresholds, models["teacher"].thresholds, atol=1e-4)
    assert (entry.thresholds_from, entry.thresholds_sha256) == (entry.name, manifest.files[entry.file].sha256)
    assert entry.tune_map == pytest.approx(mean_average_precision(scores, split.targets), abs=0.01)


def test_golden_scores_are_those_of_the_engines(made: Path) -> None:
    manifest = read_bundle(made / "teacher")
    expected = np.load(made / "teacher" / manifest.golden_expected)
    pixels = np.stack([expected[f"pixels_{number}"] for number in range(len(manifest.golden))])
    for name in NAMES:
        scores = scored_by(made / "teacher", manifest.engine(name), pixels)
        np.testing.assert_allclose(scores, expected[f"scores:{name}"], atol=1e-6)


@pytest.mark.usefixtures("exported")
def test_int8_is_calibrated_on_the_students_images(
    recipe: Recipe, inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrated: list[NDArray[np.uint8]] = []
    monkeypatch.setitem(model_bundle.QUANTIZERS, "int8_x86", lambda _, images, __: calibrated.append(images))
    run(with_engines(recipe, *(engine for engine in DEFAULT_ENGINES if engine.name == NAMES[1])), inputs, tmp_path)
    train, chosen = read_split(inputs["data"], "train"), read_json(inputs["precisions"] / CALIBRATION)["sha256"]
    rows = [row for row, name in enumerate(train.names) if name in chosen]
    assert len(rows) == 16 < len(train)
    for images, px in zip(calibrated, EXPORTED.values(), strict=True):
        np.testing.assert_array_equal(images, train.pixels(px)[rows])


@pytest.mark.usefixtures("exported")
def test_an_engine_that_cannot_be_made_becomes_a_row_with_the_reason(
    recipe: Recipe, inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = model_bundle.to_onnx

    def without_teacher(tagger: Any, *arguments: Any, **options: Any) -> Path:
        return fails() if tagger.image_px == EXPORTED["teacher"] else copied(tagger, *arguments, **options)

    monkeypatch.setattr(model_bundle, "to_onnx", without_teacher)
    monkeypatch.setattr(model_bundle, "QUANTIZERS", {"int8_x86": fails})
    folder = run(with_engines(recipe, *recipe.export.engines[:2]), inputs, tmp_path)
    assert not (folder / "teacher").exists()
    assert [engine.name for engine in read_bundle(folder / "baseline").engines] == NAMES[:1], "the others are made"
    program = inputs["bundle"] / "bundle" / PROGRAM
    assert sha256_of(folder / "baseline" / PROGRAM) == sha256_of(program), "of the student's bundle"
    failed = {entry["name"]: entry["reason"] for entry in read_json(folder / references.FACTS)["failed"]}
    assert failed == {
        **{f"teacher-{name}": "the export to ONNX failed: no such operator" for name in NAMES[:2]},
        "baseline-onnxruntime-int8": "no such operator",
    }
    zeros = ReferenceScores(np.zeros((1, 3), np.float32), np.zeros(3, np.float32))
    scores = dict.fromkeys(("teacher", "student"), zeros)
    context = Context(tmp_path, {**inputs, "references": folder}, silent)
    models = references.in_torch(recipe, context, scores)
    by_name = {engine.name: model for model in models for engine in model.runnable}
    assert list(by_name) == ["teacher-torch", "student-torch", *failed]
    model = by_name["baseline-onnxruntime-int8"]
    row = model.engines[0].row
    assert (row.model, row.kind, row.threads) == ("baseline", "reference", 1)
    assert (row.runtime, row.precision) == ("onnxruntime", "int8_x86")
    with pytest.raises(ProcessFailedError, match=r"^no such operator$"):
        model.program("bench", "--engine", row.name, timeout_s=1)


@pytest.mark.usefixtures("exported")
def test_a_full_disk_ends_the_stage(
    recipe: Recipe, inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Path:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(model_bundle, "to_onnx", full)
    with pytest.raises(OSError, match="no room"):
        run(recipe, inputs, tmp_path)


@pytest.mark.usefixtures("exported")
def test_only_a_single_teacher_in_torch_is_a_reference(
    recipe: Recipe, inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teachers, "alone", lambda *_: None)
    float_only = with_engines(recipe, Engine(name="fp32", precision="fp32", backend=OpenVino()))
    folder = run(float_only, inputs, tmp_path)
    assert [path.name for path in folder.iterdir() if (path / PROGRAM).exists()] == ["baseline"]
    assert references.notes(folder) == [], "no note on int8 without int8 engines"


def test_the_stage_runs_again_for_other_engines_and_another_program(recipe: Recipe) -> None:
    stage = export.references(with_engines(recipe, *DEFAULT_ENGINES))
    assert stage.reads == ("data", "teacher", "student", "baseline", "precisions", "bundle")
    selected = ["onnxruntime-fp32", "onnxruntime-int8", "openvino-fp32", "openvino-int8"]
    assert [engine.name for engine in stage.config["engines"]] == selected
