"""A run that is interrupted at any step and resumed ends with the weights of an uninterrupted one."""

import contextlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mlkd.data.augment import Views
from mlkd.losses import Bce, ClassAware, InstanceAware, LabelKL, ReviewKD
from mlkd.models import checkpoint
from mlkd.models.heads import LabelDecoder
from mlkd.training import history
from mlkd.training import trainer as training_loop
from mlkd.training.config import Training
from mlkd.training.divergence import NonFiniteLossError
from mlkd.training.run_state import RunState
from mlkd.training.trainer import train
from tests.helpers import taggers

STUDENT = replace(taggers.MODEL, image_px=24, head=LabelDecoder(embedding=4, heads=2, feed_forward=4))
ALL = (
    Bce(),
    LabelKL(),
    ClassAware(ramp_epochs=2, memory=4),
    InstanceAware(ramp_epochs=2),
    ReviewKD(weight=0.1, ramp_epochs=0),
)
TRAINING = Training(epochs=2, learning_rate=3e-3, batch_size=4, accumulate=2, save_steps=2, losses=ALL, trackers=())
Run = Callable[[Path], None]
pytestmark = pytest.mark.usefixtures("load_in_process")


@pytest.fixture(scope="module")
def run(prepared: Path, teacher: Path, outputs: Path) -> Run:
    def student(out: Path) -> None:
        out.mkdir(exist_ok=True)
        train(STUDENT, TRAINING, Views(count=2), prepared, out, seed=3, teacher_outputs=outputs, teacher=teacher)

    return student


@pytest.fixture(scope="module")
def whole(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    run(out)
    return out


@pytest.mark.parametrize("killed_at", [3, pytest.param(5, marks=pytest.mark.slow)])
def test_a_resumed_run_ends_with_the_same_files(
    run: Run, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    step = training_loop.TrainingRun._step

    def dies(self: training_loop.TrainingRun, *rest: object) -> dict[str, float]:
        if self.step == killed_at:
            raise KeyboardInterrupt
        return step(self, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(training_loop.TrainingRun, "_step", dies)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    monkeypatch.undo()
    saved = checkpoint.read(tmp_path / checkpoint.LAST)[1]["step"]
    assert saved == {3: 3, 5: 4}[killed_at]  # every second step, and where an epoch of three ends
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)  # of a machine or a setting that has changed meanwhile
    run(tmp_path)
    assert torch.get_num_threads() == threads
    for name in (checkpoint.BEST, checkpoint.LAST):
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes(), name
    epochs, expected = (json.loads((out / "history.json").read_text()) for out in (tmp_path, whole))
    assert [{**epoch, "seconds": 0} for epoch in epochs] == [{**epoch, "seconds": 0} for epoch in expected]


FILES = (checkpoint.LAST, checkpoint.BEST, "history.json")


def flip(file: Path, share: float) -> None:
    """Flip one bit at a share of the file."""
    content = bytearray(file.read_bytes())
    content[int(share * len(content))] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_of_an_interrupted_run_is_named_and_nothing_is_continued(
    whole: Path, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    absent: Any = None  # nothing may be loaded
    for share in (*np.linspace(0, 0.99, 12).tolist(), None):
        out = tmp_path / str(share)
        shutil.copytree(whole, out)
        if share is None:
            (out / name).write_bytes((out / name).read_bytes()[:-1])
        else:
            flip(out / name, share)
        caplog.clear()
        with contextlib.suppress(ValueError):
            if name == "history.json" and history.digests(out) == history.digests(whole):
                continue  # a space, or a digit of the seconds
        assert RunState(absent, absent, absent, absent, absent).read(out) is None, share
        assert re.search(rf"{re.escape(str(out / name))}\b.*; the training starts again", caplog.text), caplog.text
        assert not any((out / file).exists() for file in FILES)


@pytest.mark.slow
@pytest.mark.usefixtures("load_in_process")
def test_a_run_with_a_damaged_checkpoint_ends_as_a_whole_one(run: Run, whole: Path, tmp_path: Path) -> None:
    out = shutil.copytree(whole, tmp_path / "out")
    flip(out / checkpoint.BEST, 0.9)
    run(out)
    assert (out / checkpoint.BEST).read_bytes() == (whole / checkpoint.BEST).read_bytes()


def test_adapters_are_trained_and_not_deployed(whole: Path) -> None:
    last, best = (checkpoint.read(whole / name)[0] for name in (checkpoint.LAST, checkpoint.BEST))
    assert any(name.startswith("model.adapters.reviewkd.") for name in last)
    assert not any("adapters" in name for name in best)


def test_a_diverging_run_saves_and_names_step_term_and_images(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = training_loop.TrainingRun.terms

    def diverges(self: training_loop.TrainingRun, *rest: object) -> dict[str, torch.Tensor]:
        terms = forward(self, *rest)  # type: ignore[arg-type]
        return {**terms, "label_kl": terms["label_kl"] * float("nan")} if self.step == 4 else terms

    monkeypatch.setattr(training_loop.TrainingRun, "terms", diverges)
    with pytest.raises(NonFiniteLossError, match=r"step 4: .*\['label_kl'\].*train/\d+"):
        run(tmp_path)
    assert checkpoint.read(tmp_path / checkpoint.LAST)[1]["step"] == 4
    assert checkpoint.read(tmp_path / "diverged.safetensors")[1]["step"] == 4


def test_an_infinite_gradient_changes_no_weight(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = training_loop.TrainingRun.terms

    def infinite(self: training_loop.TrainingRun, *rest: object) -> dict[str, torch.Tensor]:
        terms = forward(self, *rest)  # type: ignore[arg-type]
        if self.step == 3:
            terms["bce"].register_hook(lambda gradient: gradient * float("inf"))
        return terms

    monkeypatch.setattr(training_loop.TrainingRun, "terms", infinite)
    with pytest.raises(
        NonFiniteLossError, match=r"step 3: expected finite gradients, got nan or infinite ones on images train/\d+"
    ):
        run(tmp_path)
    for name in (checkpoint.LAST, "diverged.safetensors"):
        tensors, facts = checkpoint.read(tmp_path / name)
        assert facts["step"] == 3
        assert all(torch.isfinite(value).all() for value in tensors.values())
