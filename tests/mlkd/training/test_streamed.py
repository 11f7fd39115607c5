"""Training and teacher outputs of images in shards: by several processes, and resumed at any step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mlkd.data.augment import Views
from mlkd.data.loader import AugmentedImages
from mlkd.data.prepared import read_split
from mlkd.losses import Bce, ClassAware, LabelKL, ReviewKD
from mlkd.models import checkpoint
from mlkd.models.heads import LabelDecoder
from mlkd.teachers import CheckpointTeacher, record
from mlkd.teachers.projection import Projection
from mlkd.teachers.sharded import ShardedOutputs, open_outputs
from mlkd.training import trainer as training_loop
from mlkd.training.config import Training
from mlkd.training.trainer import train
from tests.helpers import taggers

VIEWS = Views(count=2)
STUDENT = replace(taggers.MODEL, image_px=24, head=LabelDecoder(embedding=4, heads=2, feed_forward=4))
TRAINING = Training(
    epochs=2, learning_rate=3e-3, batch_size=4, accumulate=2, save_steps=2, frozen_groups=1, trackers=(),
    losses=(Bce(), LabelKL(), ClassAware(memory=4), ReviewKD(weight=0.1, ramp_epochs=0)),
)  # fmt: skip
MAPS: dict[str, Any] = {"maps": 2, "label_maps": True, "components": 4}
pytestmark = pytest.mark.usefixtures("load_in_process")


def write_outputs(teacher: Path, streamed: Path, out: Path, **shared: int) -> None:
    out.mkdir(exist_ok=True)
    record.record([CheckpointTeacher(path=teacher)], streamed, VIEWS, out, seed=0, **MAPS, frozen_groups=1, **shared)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def stored(teacher: Path, streamed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("outputs")
    write_outputs(teacher, streamed, out)
    return out


def test_outputs_of_any_images_are_those_of_the_teacher(teacher: Path, streamed: Path, stored: Path) -> None:
    split, rows = read_split(streamed, "train"), np.array([23, 0, 7, 8, 1, 0])
    outputs = open_outputs(stored, split)
    assert isinstance(outputs, ShardedOutputs)
    assert (outputs.views, outputs.seed, len(outputs.maps)) == (VIEWS, 0, 2)
    model = checkpoint.load_model(teacher)
    for view in range(2):
        images = torch.stack([AugmentedImages(split, (32,), VIEWS, 0, view)[int(row)][1] for row in rows])
        with torch.no_grad():
            expected = model(images, features=True, label_maps=True, last_map=True)
        got = outputs.batch(rows, view)
        torch.testing.assert_close(got.logits, expected.logits, rtol=1e-3, atol=1e-4)  # float16
        torch.testing.assert_close(got.pooled, expected.pooled, rtol=1e-3, atol=1e-4)
        for stage, other in zip(got.features or (), expected.features[-2:], strict=True):
            torch.testing.assert_close(stage, other, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(got.label_maps, expected.label_maps, rtol=1e-3, atol=1e-3)
        projected = Projection.read(stored / "projection.npz")(expected.last_map)
        torch.testing.assert_close(got.last_map, projected, rtol=1e-3, atol=1e-2)
        positive = torch.from_numpy(split.targets[rows].astype(bool))
        assert got.embeddings is not None
        torch.testing.assert_close(got.embeddings[positive], expected.embeddings[positive], rtol=1e-3, atol=1e-4)


def test_processes_write_the_outputs_of_one(teacher: Path, streamed: Path, stored: Path, tmp_path: Path) -> None:
    write_outputs(teacher, streamed, tmp_path, rank=1, ranks=3)
    assert {file.parent.name for file in tmp_path.rglob("*.raw")} == {"000001", "000004", "000007"}
    for rank in (0, 2):
        write_outputs(teacher, streamed, tmp_path, rank=rank, ranks=3)
    assert contents(tmp_path) == contents(stored)


@pytest.mark.parametrize("killed_at", [0, 3, 12])
def test_interrupted_outputs_are_completed(
    teacher: Path, streamed: Path, stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    append, left = record._append, iter(range(killed_at, -1, -1))

    def dies(*arguments: Any) -> None:
        append(*arguments)
        if next(left) == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(record, "_append", dies)
    with pytest.raises(KeyboardInterrupt):
        write_outputs(teacher, streamed, tmp_path)
    monkeypatch.undo()
    done: list[tuple[int, int]] = []
    arguments = [CheckpointTeacher(path=teacher)], streamed, VIEWS, tmp_path
    record.record(*arguments, seed=0, **MAPS, progress=lambda _, count, total, *__: done.append((count, total)))
    assert contents(tmp_path) == contents(stored)
    assert done[0] == (3 * killed_at + 3, 48)
    assert done[-1] == (48, 48)


def test_outputs_of_other_images_are_refused(streamed: Path, stored: Path) -> None:
    split = read_split(streamed, "train")
    with pytest.raises(ValueError, match=r"000005: expected those of \(3, 3\) images and labels, got those of other"):
        open_outputs(stored, replace(split, targets=1 - split.targets)).batch(np.array([16]), 0)


def run(teacher: Path, streamed: Path, stored: Path, out: Path) -> None:
    out.mkdir(exist_ok=True)
    sources = {"teacher_outputs": stored, "teacher": teacher, "features": out / "no features"}
    train(STUDENT, TRAINING, VIEWS, streamed, out, seed=3, **sources)
    assert not (out / "no features").exists()


@pytest.fixture(scope="module")
def whole(teacher: Path, streamed: Path, stored: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    out = tmp_path_factory.mktemp("whole")
    run(teacher, streamed, stored, out)
    return out


@pytest.mark.parametrize("killed_at", [2, pytest.param(5, marks=pytest.mark.slow)])
def test_a_resumed_run_ends_with_the_same_files(
    teacher: Path,
    streamed: Path,
    stored: Path,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    killed_at: int,
) -> None:
    step = training_loop.TrainingRun._step

    def dies(self: training_loop.TrainingRun, *rest: Any) -> dict[str, float]:
        if self.step == killed_at:
            raise KeyboardInterrupt
        return step(self, *rest)

    monkeypatch.setattr(training_loop.TrainingRun, "_step", dies)
    with pytest.raises(KeyboardInterrupt):
        run(teacher, streamed, stored, tmp_path)
    monkeypatch.undo()
    run(teacher, streamed, stored, tmp_path)
    for name in (checkpoint.BEST, checkpoint.LAST):
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes(), name
