"""Gradient norms in the backbone, against gradients of whole backward passes."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mlkd.core.labels import Labels
from mlkd.data.augment import Views
from mlkd.losses import Bce, LabelKL, Mse, ReviewKD
from mlkd.losses.base import BaseLoss
from mlkd.training.config import Training
from mlkd.training.gradient_ratio import gradient_ratio
from mlkd.training.trainer import TrainingRun
from tests.helpers import taggers

LABELS = Labels(("red", "green", "blue"))


class Runs:
    """Makes trainings of a student without dropout with some losses."""

    def __init__(self, prepared: Path, outputs: Path, teacher: Path, folder: Path) -> None:
        self.prepared, self.outputs, self.teacher, self.folder = prepared, outputs, teacher, folder
        self.weights = taggers.save(folder / "weights", LABELS, seed=3)

    def make(self, *losses: BaseLoss, frozen_groups: int = 0) -> TrainingRun:
        training = Training(epochs=1, learning_rate=1e-3, batch_size=8, losses=losses, frozen_groups=frozen_groups)
        out = self.folder / f"run{len(list(self.folder.iterdir()))}"
        out.mkdir()
        return TrainingRun(
            taggers.MODEL, training, Views(), self.prepared, out, seed=0, teacher_outputs=self.outputs,
            teacher=self.teacher, features=None, progress=lambda *_: None,
        )  # fmt: skip

    def ratio(self, *losses: BaseLoss, batches: int = 1) -> float:
        return gradient_ratio(self.make(*losses), self.weights, ("bce",), batches)


@pytest.fixture
def runs(prepared: Path, outputs: Path, teacher: Path, tmp_path: Path) -> Runs:
    return Runs(prepared, outputs, teacher, tmp_path)


def norm_of(run: TrainingRun, kind: str) -> float:
    """Of the gradient of one loss on the first batch, by a backward pass of its own."""
    run.module.train()
    run.module.zero_grad()
    torch.manual_seed(run.seed)
    rows, images = next(iter(run.batches(0)))
    run.terms(0, rows, images)[kind].backward()
    values = [p.grad.double().pow(2).sum() for p in run.tagger.backbone.parameters() if p.grad is not None]
    return float(sum(values)) ** 0.5


def test_it_is_the_ratio_of_two_backward_passes(runs: Runs) -> None:
    for other in (Mse(), LabelKL(), ReviewKD(ramp_epochs=0)):
        run = runs.make(Bce(), other)
        gradient_ratio(run, runs.weights, ("bce",), 1)  # reads the weights
        expected = norm_of(run, other.kind) / norm_of(run, "bce")
        assert gradient_ratio(run, runs.weights, ("bce",), 1) == pytest.approx(expected, rel=1e-4)


def test_it_follows_the_weight_and_adds_gradients_not_norms(runs: Runs) -> None:
    once = runs.ratio(Bce(), Mse())
    assert runs.ratio(Bce(), replace(Mse(), weight=3.0)) == pytest.approx(3 * once, rel=1e-4)
    both = runs.ratio(Bce(), Mse(), LabelKL())
    assert abs(once - runs.ratio(Bce(), LabelKL())) < both < once + runs.ratio(Bce(), LabelKL())


def test_a_loss_without_a_gradient_is_refused(runs: Runs) -> None:
    with pytest.raises(ValueError, match=r"gradients of bce, mse: expected norms above 0 in the backbone, got 0 and "):
        runs.ratio(Bce(), replace(Mse(), weight=1e-300))
