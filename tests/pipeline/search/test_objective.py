"""Real trainings of tiny candidates, in rungs."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mlkd.core.labels import Labels
from mlkd.core.progress import silent
from mlkd.data.augment import Views
from mlkd.data.prepared import read_split
from mlkd.losses import Bce, LabelKL, ReviewKD
from mlkd.models import checkpoint
from mlkd.models.config import Model
from mlkd.models.heads import LabelDecoder, Pooled
from mlkd.models.weights import FileWeights
from mlkd.teachers import CheckpointTeacher
from mlkd.teachers.record import record
from mlkd.training import trainer
from mlkd.training.config import Training
from pipeline.runner.stage import Context
from pipeline.search import race
from pipeline.search.candidates import Candidate
from pipeline.search.objective import Setting, fit_training, objective
from pipeline.search.race_rows import Race, read_race
from pipeline.search.rows import Latency
from pipeline.search.trainings import continue_in, read_rung, rungs
from tests.helpers import taggers

SMALL = Model(backbone="test_resnet", image_px=32, head=Pooled())
TRAINING = Training(
    epochs=3, learning_rate=3e-3, batch_size=16, save_steps=1, frozen_groups=9,
    losses=(Bce(), LabelKL(), ReviewKD(weight=0.1, channels=8)),
)  # fmt: skip
pytestmark = pytest.mark.usefixtures("load_in_process")


def folders(place: Path) -> dict[str, Path]:
    return {name: place / "race.work" / name for name in ("a", "b", "small", "absent", "large")}


@pytest.fixture
def setting(prepared: Path, tmp_path: Path) -> Setting:
    data = prepared / "runs/tiny/data"
    teacher = taggers.save(tmp_path / "teacher", Labels.read(data / "labels.json"), image_px=48)
    (tmp_path / "outputs").mkdir()
    record([CheckpointTeacher(path=teacher)], data, Views(count=2), tmp_path / "outputs", seed=0, maps=1)
    return Setting(
        training=TRAINING,
        views=Views(count=2),
        seed=0,
        images=data,
        teacher_outputs=tmp_path / "outputs",
        teacher=teacher,
        features=tmp_path / "features",
        folders=folders(tmp_path),
    )


def test_rungs_are_below_the_whole_training() -> None:
    expected = {1: (1,), 2: (1,), 3: (1, 2), 4: (1, 2), 5: (1, 2, 4), 9: (1, 2, 4, 8)}
    assert {epochs: rungs(replace(TRAINING, epochs=epochs)) for epochs in expected} == expected
    assert rungs(replace(TRAINING, epochs=9, stop_epoch=3)) == (1, 2)


def test_layers_are_frozen_as_far_as_the_candidate_has_trained_ones() -> None:
    pretrained = replace(SMALL, weights=FileWeights(path=Path("weights")))  # which is not read
    assert fit_training(TRAINING, SMALL).frozen_groups == 0, "random layers are trained"
    assert fit_training(TRAINING, pretrained).frozen_groups == 4, "stem and three of four stages"
    assert fit_training(replace(TRAINING, frozen_groups=2), pretrained).frozen_groups == 2
    assert fit_training(TRAINING, replace(pretrained, expansion=0.5)).frozen_groups == 0, "what is left has to adapt"


def test_a_rung_continues_the_training_and_its_scores_are_of_the_best_epoch(setting: Setting) -> None:
    reports: list[tuple[int, float]] = []

    def report(epochs: int, select_map: float) -> bool:
        reports.append((epochs, select_map))
        return len(reports) < 1

    candidate = Candidate(name="a", model=SMALL)
    objective(candidate, setting, report)
    assert checkpoint.read_facts(setting.folders["a"] / checkpoint.LAST)["step"] == 4
    first = checkpoint.read_facts(setting.folders["a"] / checkpoint.BEST)
    assert reports == [(1, first["select_map"])]
    objective(candidate, setting, lambda epochs, select_map: bool(reports.append((epochs, select_map))) or epochs < 2)
    assert checkpoint.read_facts(setting.folders["a"] / checkpoint.LAST)["step"] == 8
    best = checkpoint.read_facts(setting.folders["a"] / checkpoint.BEST)
    assert reports[1:] == [reports[0], (2, max(first["select_map"], best["select_map"]))]
    assert read_rung(setting.folders["a"], 1).scores.shape == (len(read_split(setting.images, "select")), 3)
    setting.folders["b"].mkdir()
    training = replace(fit_training(TRAINING, SMALL), stop_epoch=2)
    inputs = {name: getattr(setting, name) for name in ("seed", "teacher_outputs", "teacher", "features")}
    trainer.train(SMALL, training, setting.views, setting.images, setting.folders["b"], **inputs)
    assert checkpoint.read_facts(setting.folders["b"] / checkpoint.BEST) == best, "of a training without a rung"


def test_a_finalist_ends_with_the_weights_of_a_training_without_a_race(setting: Setting, tmp_path: Path) -> None:
    objective(Candidate(name="a", model=SMALL), setting, lambda *_: True)
    inputs = {name: getattr(setting, name) for name in ("seed", "teacher_outputs", "teacher", "features")}
    final, whole = tmp_path / "student.partial", tmp_path / "whole"
    for out in (final, whole):
        out.mkdir()
    continue_in(final, setting.folders["a"], TRAINING)
    assert checkpoint.read_facts(final / checkpoint.LAST)["step"] == 8, "two of three epochs"
    for out in (final, whole):
        trainer.train(SMALL, fit_training(TRAINING, SMALL), setting.views, setting.images, out, **inputs)
    for name in (checkpoint.BEST, checkpoint.LAST):
        (tensors, _), (expected, _) = checkpoint.read(final / name), checkpoint.read(whole / name)
        assert tensors.keys() == expected.keys()
        assert all(torch.equal(tensors[key], expected[key]) for key in expected)
    maps = [[epoch["select_map"] for epoch in json.loads((out / "history.json").read_text())] for out in (final, whole)]
    assert maps[0] == maps[1]
    assert len(maps[0]) == 3


@pytest.mark.slow
def test_an_interrupted_race_ends_as_a_whole_one(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three candidates, one of which cannot be trained; the interruption comes in the middle of an epoch."""
    entrants = {
        one.name: one
        for one in (
            Candidate(name="small", model=SMALL),
            Candidate(name="absent", model=replace(SMALL, backbone="no_such_model")),
            Candidate(name="large", model=replace(SMALL, image_px=48, head=LabelDecoder(embedding=8, feed_forward=8))),
        )
    }
    steps: list[int] = []
    step = trainer.TrainingRun._step

    def counted(self: trainer.TrainingRun, *rest: object) -> dict[str, float]:
        if len(steps) == interrupted_at:
            steps.append(-1)
            raise KeyboardInterrupt
        steps.append(self.step)
        return step(self, *rest)  # type: ignore[arg-type]

    def run(folder: Path) -> Race:
        out = folder / "race"
        out.mkdir(parents=True, exist_ok=True)
        times = {"small": 1.0, "absent": 2.0, "large": 3.0}
        latency = {name: Latency(p90_ms=time, bound_ms=time) for name, time in times.items()}
        race.run(entrants, latency, {}, replace(setting, folders=folders(folder)), 60.0, Context(out, {}, silent))
        return read_race(out)

    monkeypatch.setattr(trainer.TrainingRun, "_step", counted)
    interrupted_at, folder = -1, setting.folders["a"].parents[1]
    whole = run(folder / "whole")
    assert steps == [*range(4), *range(4), *range(4, 8), *range(4, 8)], "the faster one, and the one with more mAP"
    assert [row.reason for row in whole.rows if row.candidate == "absent"] == [
        "model.backbone: expected a timm model, got 'no_such_model'; see timm.list_models()"
    ]
    steps.clear()
    interrupted_at = 6
    with pytest.raises(KeyboardInterrupt):
        run(folder / "other")
    interrupted_at = -1
    assert run(folder / "other") == whole
    assert steps == [*range(4), *range(2), -1, *range(2, 4), *range(4, 8), *range(4, 8)], "no step twice"
    for name in ("small", "large"):
        for epochs in rungs(TRAINING):
            scores = [read_rung(folders(folder / one)[name], epochs).scores for one in ("whole", "other")]
            assert np.array_equal(*scores)
