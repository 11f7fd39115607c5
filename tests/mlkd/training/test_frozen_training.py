"""Training from the features of frozen layers and from stored stage maps gives what training from images gives."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mlkd.data.augment import Views
from mlkd.losses import Bce, LabelKL, ReviewKD
from mlkd.models import checkpoint
from mlkd.models.heads import LabelDecoder
from mlkd.teachers import CheckpointTeacher
from mlkd.teachers.record import record
from mlkd.training import trainer as training_loop
from mlkd.training.config import Training
from mlkd.training.trainer import train
from tests.helpers import taggers

STUDENT = replace(taggers.MODEL, image_px=24, head=LabelDecoder(embedding=4, heads=2, feed_forward=4, dropout=0.0))
LOSSES = (Bce(), LabelKL(), ReviewKD(weight=0.1, ramp_epochs=0))
TRAINING = Training(
    epochs=2, learning_rate=3e-3, batch_size=8, save_steps=1, frozen_groups=2, losses=LOSSES, trackers=()
)
pytestmark = pytest.mark.usefixtures("load_in_process")


@pytest.fixture(scope="module")
def with_maps(prepared: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("with_maps")
    record([CheckpointTeacher(path=teacher)], prepared, Views(count=2), out, seed=3, maps=3)
    return out


def student(prepared: Path, out: Path, outputs: Path, teacher: Path | None, features: Path | None) -> None:
    out.mkdir(exist_ok=True)
    options: dict[str, Any] = {"teacher_outputs": outputs, "teacher": teacher, "features": features}
    train(STUDENT, TRAINING, Views(count=2), prepared, out, seed=3, **options)


@pytest.fixture(scope="module")
def cached(prepared: Path, teacher: Path, with_maps: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cached")
    student(prepared, folder / "run", with_maps, teacher, folder / "features")
    return folder


def losses(run: Path) -> list[dict[str, float]]:
    return [epoch["losses"] for epoch in json.loads((run / "history.json").read_text())]


def test_losses_are_those_of_training_from_images_beside_the_teacher(
    cached: Path, prepared: Path, teacher: Path, tmp_path: Path
) -> None:
    (tmp_path / "outputs").mkdir()
    record([CheckpointTeacher(path=teacher)], prepared, Views(count=2), tmp_path / "outputs", seed=3)
    student(prepared, tmp_path / "run", tmp_path / "outputs", teacher, None)
    for got, expected in zip(losses(cached / "run"), losses(tmp_path / "run"), strict=True):
        assert got == pytest.approx(expected, rel=2e-2)  # float16, and what two epochs make of it


def test_frozen_layers_stay_as_they_are(cached: Path) -> None:
    torch.manual_seed(3)
    first = STUDENT.build(3).state_dict()
    trained = checkpoint.read(cached / "run" / checkpoint.BEST)[0]
    frozen = [name for name in first if name.startswith(("backbone.conv1", "backbone.bn1", "backbone.layer1"))]
    assert any("running_mean" in name for name in frozen)
    assert [name for name in frozen if not torch.equal(first[name], trained[name])] == []
    assert any(not torch.equal(first[name], trained[name]) for name in first if name.startswith("backbone.layer4"))


def test_another_training_of_the_same_front_computes_no_features(
    cached: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlkd.models.feature_cache.FeatureCache._fill", None)
    training = replace(TRAINING, losses=(Bce(),), epochs=1)
    options: dict[str, Any] = {"features": cached / "features"}
    train(STUDENT, training, Views(count=2), prepared, tmp_path, seed=3, **options)
    assert len(losses(tmp_path)) == 1


@pytest.mark.parametrize("features_lost", [False, True])
def test_a_killed_run_ends_with_the_same_weights(
    cached: Path, prepared: Path, teacher: Path, with_maps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    features_lost: bool,
) -> None:  # fmt: skip
    step = training_loop.TrainingRun._step

    def dies(self: training_loop.TrainingRun, *rest: object) -> dict[str, float]:
        if self.step == 4:
            raise KeyboardInterrupt
        return step(self, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(training_loop.TrainingRun, "_step", dies)
    with pytest.raises(KeyboardInterrupt):
        student(prepared, tmp_path / "run", with_maps, teacher, tmp_path / "features")
    monkeypatch.undo()
    if features_lost:
        shutil.rmtree(tmp_path / "features")
    student(prepared, tmp_path / "run", with_maps, teacher, tmp_path / "features")
    for name in (checkpoint.BEST, checkpoint.LAST):
        assert (tmp_path / "run" / name).read_bytes() == (cached / "run" / name).read_bytes()
