"""Recipes whose teachers are ready: nets of ours, ONNX files, several as one."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from onnx import TensorProto

from benchmarks.report.problems import CHECK
from mlkd.core.labels import Labels
from mlkd.core.metrics import mean_average_precision
from mlkd.core.progress import silent
from mlkd.data import Folder
from mlkd.data.prepared import read_split
from mlkd.models import checkpoint
from mlkd.teachers import onnx
from mlkd.teachers.cache import TeacherOutputs
from mlkd.training import evaluate
from pipeline import stages, teachers
from pipeline.__main__ import main
from pipeline.cli import costs
from pipeline.declarations.distill import recipe_hash
from pipeline.recipe.faults import ConfigError
from pipeline.recipe.schema import Recipe, load_recipe
from pipeline.references import scores as floats
from pipeline.runner.identity import plain
from pipeline.runner.stage import Context
from pipeline.stages import bench
from tests.helpers import drawings, foreign, taggers

LABELS = Labels(tuple(sorted(drawings.COLOURS)))
Write = Callable[..., Recipe]


def onnx_teacher(file: Path, labels: int = 3) -> dict[str, object]:
    """A tagger (B, 40, 40, 3) uint8 whose logits are 0.01 * the mean of a channel - 1.28."""
    weight, bias = 2.55 * np.eye(3, labels), np.full(labels, -1.28)
    foreign.write(file, kind=TensorProto.UINT8, layout="NHWC", px=40, weight=weight, bias=bias, names=())
    return {"kind": "onnx", "path": str(file), "image_px": 40, "labels_in_order": True}


@pytest.fixture
def write(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """The tiny recipe with other teachers; LOSSES are the student's kinds."""
    monkeypatch.chdir(tmp_path)

    def written(
        *ready: dict[str, object], train: bool = False, losses: tuple[str, ...] = ("bce", "label_kl")
    ) -> Recipe:
        tree = yaml.safe_load(drawings.write_recipe(drawn, tmp_path).read_text())
        for training in (tree["student"]["training"], tree["baseline"]):
            training |= {"epochs": 1, "learning_rate": 3e-3}
        tree["teacher"]["training"]["learning_rate"] = 3e-3
        tree["student"]["training"]["losses"] = [{"kind": kind} for kind in losses]
        tree |= {"ready_teachers": list(ready)} if ready else {}
        if not train:
            del tree["teacher"]
        (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tree))
        return load_recipe("./tiny.yaml")

    return written


def test_plan_opens_a_ready_teacher_once(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not at all where it has the labels of the data, which are not known yet; a folder's table tells them."""
    opened: list[Path] = []
    before = onnx._open
    monkeypatch.setattr(onnx, "_open", lambda path: opened.append(path) or before(path))
    (tmp_path / "labels.txt").write_text("\n".join((*LABELS.names, "owl")))
    ready = onnx_teacher(tmp_path / "a.onnx", labels=4)
    recipe = write(ready, {**ready, "labels_in_order": False, "labels": str(tmp_path / "labels.txt")})
    waiting, told = list(costs.lines(recipe, None))[:2]
    assert waiting.endswith("@40: not opened, because it has the labels of the data, which is not read yet")
    assert "@40: 4 labels, " in told
    assert opened == [tmp_path / "a.onnx"]
    folder = folder_of(tmp_path, "owl", "owls", "red")
    with pytest.raises(ValueError, match="without owls"):
        list(costs.lines(replace(recipe, data=folder, ready_teachers=recipe.ready_teachers[1:]), None))


def test_plan_counts_the_labels_of_a_folders_table(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "_describe", lambda _, labels: f"{labels} labels")
    recipe = replace(write(train=True), data=folder_of(tmp_path, "a", "b"))
    assert list(costs.lines(recipe, None)) == ["teacher  2 labels", "student  2 labels"]


def folder_of(root: Path, *labels: str) -> Folder:
    """A folder whose table gives each label to some of its 12 files."""
    folder = root / "-".join(labels)
    folder.mkdir()
    for number in range(12):
        (folder / f"{number}.png").touch()
    rows = [f"{number}.png,{labels[number % len(labels)]}" for number in range(12)]
    (folder / "tags.csv").write_text("\n".join(["file,tags", *rows]))
    return Folder(root=folder)


def test_a_run_with_teachers_that_are_ready(write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = taggers.save(tmp_path / "net", LABELS, image_px=48)
    losses = ("bce", "label_kl", "class_aware", "instance_aware", "rkd")
    recipe = write({"kind": "checkpoint", "path": str(net)}, onnx_teacher(tmp_path / "a.onnx"), losses=losses)
    assert main(["distill", "--recipe", "tiny.yaml"]) == 0
    logged = capsys.readouterr().err
    data, runs = tmp_path / "runs/tiny/data", tmp_path / "runs/tiny"
    assert not (runs / "teacher").exists()
    assert read_split(data, "train").pixels(40).shape[1] == 40
    batch = TeacherOutputs.read(runs / "teacher_outputs", read_split(data, "train")).batch(np.arange(4), 0)
    assert batch.embeddings is not None
    assert (batch.embeddings.shape[2], batch.logits.shape[1]) == (8, 3)
    losses_of = json.loads((runs / "student/history.json").read_text())[0]["losses"]
    assert set(losses_of) == set(losses)
    check_test_scores(recipe, data, net, tmp_path)
    assert main(["plan", "--recipe", "tiny.yaml"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"teacher +\S+net @48: 3 labels, [\d.]+ ms an image on cpu\n", told)
    assert re.search(r"teacher +\S+a\.onnx @40: 3 labels, [\d.]+ ms an image on CPUExecutionProvider\n", told)
    first = recipe_hash(recipe)
    taggers.save(tmp_path / "net", LABELS, image_px=48, seed=1)
    assert recipe_hash(recipe) != first
    check_that_the_teacher_is_told(recipe, runs, logged)
    plan = {decision.stage: decision for decision in stages.pipeline(recipe, runs).plan()}
    assert not plan["data"].runs
    assert plan["teacher_outputs"].runs
    assert "ready_files" in plan["teacher_outputs"].why


def check_that_the_teacher_is_told(recipe: Recipe, runs: Path, logged: str) -> None:
    select = read_split(runs / "data", "select")
    scores = floats._scores(recipe, Context(runs, {"data": runs / "data"}, silent), "teacher", select)
    expected = mean_average_precision(scores, select.targets, select.label_mask)
    found = teachers.select_maps(recipe, runs)
    assert found["teacher"] == pytest.approx(expected, abs=1e-6)
    assert f"teacher: select mAP {100 * expected:.1f}, " in logged
    assert found["student"] == json.loads((runs / "student/history.json").read_text())[0]["select_map"]


@pytest.mark.parametrize(
    ("teacher", "student", "warned"),
    [
        (0.6, 0.5, []),
        (0.3, 0.5, ["the teacher has a lower mAP than the student without a teacher: if the teacher is a"]),
        (0.6, 0.4, ["on select the student is not better than without a teacher"]),
    ],
)
def test_a_teacher_of_no_use_is_told(
    teacher: float, student: float, warned: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    teachers.log_maps({"teacher": teacher, "student": student, "baseline": 0.4})
    first, *rest = caplog.messages
    expected = f"select mAP: teacher {100 * teacher:.1f}, student {100 * student:.1f}, student without a teacher 40.0"
    assert first == expected
    assert len(rest) == len(warned)
    assert all(text.startswith(start) for text, start in zip(rest, warned, strict=True))
    caplog.clear()
    teachers.log_maps({"teacher": teacher, "student": student})
    assert not caplog.messages


def test_a_teacher_at_chance_is_told_before_it_teaches(
    write: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its labels are said to be in the order of the data, and are not."""
    recipe = write(onnx_teacher(tmp_path / "a.onnx"))
    stages.pipeline(recipe, tmp_path / "runs").until("data").run()
    inputs = {"data": tmp_path / "runs/data"}
    split = read_split(inputs["data"], "select")
    rng = np.random.default_rng(5)
    monkeypatch.setattr("mlkd.teachers.scores", lambda *_: rng.random(split.targets.shape))
    teachers.measure(recipe, inputs, tmp_path)
    assert f"teacher: {CHECK}" in caplog.text
    assert json.loads((tmp_path / teachers.SELECT).read_text())["chance"] > split.targets.mean()


def check_test_scores(recipe: Recipe, data: Path, net: Path, out: Path) -> None:
    """The teacher that bench tells of is what the student was taught by: the mean of both nets' logits."""
    test = read_split(data, "test")
    got = floats._scores(recipe, Context(out, {"data": data}, silent), "teacher", test)
    ours = evaluate.scores(checkpoint.load_model(net), test.pixels(48)).astype(np.float64)
    theirs = 0.01 * test.pixels(40).astype(np.float64).mean((1, 2)) - 1.28
    np.testing.assert_allclose(np.log(got / (1 - got)), (np.log(ours / (1 - ours)) + theirs) / 2, atol=1e-4)
    assert bench._note_on_teachers(recipe) == ["teacher: checkpoint, onnx, as one; not timed"]


def test_it_may_be_moved(write: Write, tmp_path: Path) -> None:
    hashes = []
    for name in ("here", "there"):
        recipe = write({"kind": "checkpoint", "path": str(taggers.save(tmp_path / name, LABELS))})
        stage = stages.pipeline(recipe, tmp_path / "runs").until("teacher_outputs").stages[-1]
        hashes.append((recipe_hash(recipe), str(plain(stage.config)), stage.outside()))
    assert hashes[0] == hashes[1]


def test_stages_and_sizes_follow_the_teachers(write: Write, tmp_path: Path) -> None:
    net = {"kind": "checkpoint", "path": str(taggers.save(tmp_path / "net", LABELS, image_px=24))}
    onnx = onnx_teacher(tmp_path / "a.onnx")
    folder, inputs = tmp_path / "net", {"teacher": tmp_path / "trained", "data": tmp_path}
    LABELS.write(tmp_path / "labels.json")
    for recipe, sizes, line, along, alone in (
        (write(train=True), [32, 48], ["data", "teacher"], inputs["teacher"], inputs["teacher"]),
        (write(net), [24, 32], ["data"], folder, folder),
        (write(onnx), [32, 40], ["data"], None, None),
        (write(onnx, net), [24, 32, 40], ["data"], folder, None),
        (write(net, train=True), [24, 32, 48], ["data", "teacher"], inputs["teacher"], None),
    ):
        assert teachers.sizes(recipe) == sizes
        until_student = stages.pipeline(recipe, Path("runs/tiny")).until("student").stages
        assert [stage.name for stage in until_student] == [*line, "teacher_outputs", "student"]
        assert teachers.net(recipe, inputs) == along
        assert teachers.alone(recipe, inputs) == alone
    Labels(LABELS.names[::-1]).write(tmp_path / "labels.json")
    assert teachers.alone(write(net), inputs) is None, "its engines would have other columns than the data"


def test_a_loss_on_stage_maps_reads_the_trained_teacher(write: Write) -> None:
    reads = {
        loss: stages.pipeline(write(train=True, losses=("bce", loss)), Path("runs")) for loss in ("rkd", "reviewkd")
    }
    of_student = {loss: {stage.name: stage.reads for stage in line.stages}["student"] for loss, line in reads.items()}
    assert of_student == {"rkd": ("data", "teacher_outputs"), "reviewkd": ("data", "teacher", "teacher_outputs")}


def test_recipes_without_a_teacher_or_with_one_that_gives_too_little(write: Write, tmp_path: Path) -> None:
    onnx = onnx_teacher(tmp_path / "a.onnx")
    with pytest.raises(ConfigError, match="teacher: expected one to train, or ready_teachers, got neither"):
        write()
    with pytest.raises(ConfigError, match=r"student: expected losses on logits only, .*, got class_aware, rkd; remove"):
        write(onnx, losses=("bce", "label_kl", "class_aware", "rkd"))
    with pytest.raises(ConfigError, match="expected one of checkpoint, onnx; got 'onxx'; did you mean onnx"):
        write({**onnx, "kind": "onxx"})
    write(onnx, train=True, losses=("class_aware",))


def test_one_that_is_not_there_is_told_before_anything_runs(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write({**onnx_teacher(tmp_path / "a.onnx"), "path": str(tmp_path / "none.onnx")})
    assert main(["plan", "--recipe", "tiny.yaml"]) == 2
    assert f"ready_teachers: expected the file {tmp_path}/none.onnx, got nothing there" in capsys.readouterr().err
