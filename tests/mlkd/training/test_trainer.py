from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mlkd.core.metrics import mean_average_precision
from mlkd.core.progress import silent
from mlkd.data.augment import Views
from mlkd.data.prepared import read_split
from mlkd.models import checkpoint
from mlkd.models.config import Model
from mlkd.models.heads import LabelDecoder
from mlkd.models.weights import TrainedWeights
from mlkd.training import evaluate, trainer
from mlkd.training.config import Training
from mlkd.training.trainer import train

pytestmark = pytest.mark.usefixtures("load_in_process")
MODEL = Model(backbone="test_efficientnet", image_px=24, head=LabelDecoder(embedding=8, heads=2, feed_forward=8))
WITHOUT_NORM = replace(MODEL, backbone="test_convnext", image_px=32, head=replace(MODEL.head, dropout=0.0))
TRAINING = Training(epochs=3, learning_rate=3e-3, batch_size=8, trackers=())
VIEWS = Views(count=2)


def history(folder: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((folder / "history.json").read_text())
    return entries


def weights(folder: Path, name: str = checkpoint.LAST) -> dict[str, torch.Tensor]:
    return checkpoint.part(checkpoint.read(folder / name)[0], "model.tagger.")


@pytest.fixture(scope="module")
def trained(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    train(MODEL, TRAINING, VIEWS, prepared, out, seed=0)
    return out


@pytest.fixture(scope="module")
def whole_batches(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """Weights after an epoch without batch norm and dropout, which depend on the size of a batch."""
    out = tmp_path_factory.mktemp("whole")
    train(WITHOUT_NORM, replace(TRAINING, epochs=1), VIEWS, prepared, out, seed=0)
    return weights(out)


def assert_close(folder: Path, expected: dict[str, torch.Tensor]) -> None:
    """All weights but those of query and key: the backbone gives one position, and a softmax of one number is 1.

    Their gradients are rounding errors, which differ between processors and which AdamW scales up to whole steps.
    """
    got = weights(folder)
    assert got.keys() == expected.keys()
    compared = {name for name in expected if not name.startswith(("head.project_query", "head.project_key"))}
    assert len(compared) == len(expected) - 4
    for name in compared:
        value = expected[name]
        torch.testing.assert_close(got[name], value, rtol=1e-3, atol=2e-5, msg=name)


def test_training_reduces_the_loss_and_tracks_it(prepared: Path, tmp_path: Path) -> None:
    training = replace(TRAINING, epochs=12, learning_rate=1e-2, trackers=("tensorboard",))
    train(MODEL, training, Views(crop_min=1.0), prepared, tmp_path, seed=0)
    entries = history(tmp_path)
    assert [entry["epoch"] for entry in entries] == list(range(1, 13))
    assert entries[-1]["losses"]["bce"] < 0.7 * entries[0]["losses"]["bce"]
    events = EventAccumulator(str(next(tmp_path.rglob("*tfevents*")).parent)).Reload()
    assert [event.step for event in events.Scalars("select_map")] == [3 * epoch for epoch in range(1, 13)]
    assert [event.step for event in events.Scalars("bce")] == [20]
    assert [event.step for event in events.Scalars("learning_rate")] == [20]


def test_best_checkpoint_is_the_best_epoch_on_select(trained: Path, prepared: Path) -> None:
    facts = checkpoint.read(trained / checkpoint.BEST)[1]
    select = read_split(prepared, "select")
    scores = evaluate.scores(checkpoint.load_model(trained), select.pixels(24))
    assert facts["select_map"] == max(entry["select_map"] for entry in history(trained))
    assert mean_average_precision(scores, select.targets) == pytest.approx(facts["select_map"], abs=1e-6)
    assert facts["labels"] == ["red", "green", "blue"]


def test_new_weights_are_checked_and_those_of_a_resumed_run_are_not(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[object] = []
    monkeypatch.setattr(trainer, "check_weights", lambda _, model, pixels: checked.append((model, pixels.shape)))
    for stop_epoch in (1, 2):
        train(MODEL, replace(TRAINING, stop_epoch=stop_epoch), VIEWS, prepared, tmp_path, seed=0)
    assert checked == [(MODEL, (24, 24, 24, 3))]


def test_the_seed_decides_and_a_finished_run_is_not_repeated(prepared: Path, trained: Path, tmp_path: Path) -> None:
    train(MODEL, replace(TRAINING, stop_epoch=1), VIEWS, prepared, tmp_path, seed=1)
    first, second = weights(trained), weights(tmp_path)
    assert not torch.equal(first["head.project_tokens.weight"], second["head.project_tokens.weight"])
    before = (trained / checkpoint.LAST).stat().st_mtime_ns
    train(MODEL, TRAINING, VIEWS, prepared, trained, seed=0)
    assert (trained / checkpoint.LAST).stat().st_mtime_ns == before


def test_a_run_stops_when_select_gets_no_better(prepared: Path, tmp_path: Path) -> None:
    stalled = replace(TRAINING, epochs=9, learning_rate=1e-8, patience=2)
    train(MODEL, stalled, VIEWS, prepared, tmp_path, seed=0)
    scores = [entry["select_map"] for entry in history(tmp_path)]
    best = scores.index(max(scores))
    assert len(scores) == best + 3 < 9
    train(MODEL, stalled, VIEWS, prepared, tmp_path, seed=0)
    assert len(history(tmp_path)) == len(scores)


def test_a_run_may_end_before_its_schedule(prepared: Path, trained: Path, tmp_path: Path) -> None:
    train(MODEL, replace(TRAINING, stop_epoch=2), VIEWS, prepared, tmp_path, seed=0)
    stopped, whole = history(tmp_path), history(trained)
    assert [entry["losses"] for entry in stopped] == [entry["losses"] for entry in whole[:2]]


def test_accumulated_parts_step_like_their_mean(
    prepared: Path, tmp_path: Path, whole_batches: dict[str, torch.Tensor]
) -> None:
    train(WITHOUT_NORM, replace(TRAINING, epochs=1, batch_size=4, accumulate=2), VIEWS, prepared, tmp_path, seed=0)
    assert_close(tmp_path, whole_batches)
    torch.manual_seed(0)
    initial = dict(WITHOUT_NORM.build(3).named_parameters())
    assert max(float((value.detach() - whole_batches[name]).abs().max()) for name, value in initial.items()) > 1e-3


def test_compiled_training_calls_the_compiled_module(
    prepared: Path, tmp_path: Path, whole_batches: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    class Compiled(torch.nn.Module):
        """A stand-in: test_network has the compiler."""

        def __init__(self, module: torch.nn.Module) -> None:
            super().__init__()
            self.module = module

        def forward(self, images: torch.Tensor) -> object:
            calls.append(len(images))
            return self.module(images)

    monkeypatch.setattr(torch, "compile", Compiled)
    train(WITHOUT_NORM, replace(TRAINING, epochs=1, compile=True), VIEWS, prepared, tmp_path, seed=0)
    assert calls == [8, 8, 8]
    assert_close(tmp_path, whole_batches)


def test_bfloat16_gives_nearly_the_same_loss(prepared: Path, trained: Path, tmp_path: Path) -> None:
    train(MODEL, replace(TRAINING, precision="bf16", stop_epoch=1), VIEWS, prepared, tmp_path, seed=0)
    narrow, wide = history(tmp_path)[0]["losses"]["bce"], history(trained)[0]["losses"]["bce"]
    assert narrow != wide
    assert narrow == pytest.approx(wide, rel=0.1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA computes in fp16")
def test_float16_needs_cuda(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"training.precision: expected CUDA for fp16, .* use bf16 or fp32"):
        train(MODEL, replace(TRAINING, precision="fp16"), VIEWS, prepared, tmp_path, seed=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_float16_gives_nearly_the_same_loss_and_keeps_its_scale(prepared: Path, trained: Path, tmp_path: Path) -> None:
    train(MODEL, replace(TRAINING, precision="fp16"), VIEWS, prepared, tmp_path, seed=0)
    assert history(tmp_path)[-1]["losses"]["bce"] == pytest.approx(history(trained)[-1]["losses"]["bce"], rel=0.1)
    assert checkpoint.read(tmp_path / checkpoint.LAST)[1]["scaler"]["scale"] > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_run_on_cuda_resumes(prepared: Path, trained: Path, tmp_path: Path) -> None:
    for stop_epoch in (1, 3):
        train(MODEL, replace(TRAINING, stop_epoch=stop_epoch), VIEWS, prepared, tmp_path, seed=0)
    assert history(tmp_path)[-1]["losses"]["bce"] == pytest.approx(history(trained)[-1]["losses"]["bce"], rel=0.1)


def test_a_tracker_that_is_not_installed_is_refused(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"training.trackers: expected installed ones \(tensorboard.*got 'abacus'"):
        train(MODEL, replace(TRAINING, trackers=("abacus",)), VIEWS, prepared, tmp_path, seed=0)


def test_frozen_groups_keep_their_weights_and_the_others_change(prepared: Path, tmp_path: Path) -> None:
    train(MODEL, replace(TRAINING, epochs=1, frozen_groups=2), VIEWS, prepared, tmp_path, seed=0)
    torch.manual_seed(0)
    trained = weights(tmp_path)
    for name, value in MODEL.build(3).backbone.named_parameters():
        frozen = name.startswith(("conv_stem", "bn1", "blocks.0."))
        assert torch.equal(trained[f"backbone.{name}"], value) is frozen, name


def test_training_continues_from_a_trained_model(trained: Path, prepared: Path, tmp_path: Path) -> None:
    model = replace(MODEL, weights=TrainedWeights(path=trained / checkpoint.BEST))
    run = trainer.TrainingRun(model, TRAINING, VIEWS, prepared, tmp_path, 5, None, None, None, silent)
    select = read_split(prepared, "select")
    expected = evaluate.score_folder(trained, select)
    for continued in (run.tagger, run.ema.module):
        np.testing.assert_allclose(evaluate.scores(continued, select.pixels(24)), expected, atol=1e-6, rtol=0)
