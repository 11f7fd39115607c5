from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mlkd.core.metrics import mean_average_precision
from mlkd.data.augment import Views
from mlkd.data.prepared import read_split
from mlkd.losses import LabelKL
from mlkd.models import checkpoint
from mlkd.models.heads import LabelDecoder
from mlkd.models.network import Model
from mlkd.training import evaluate
from mlkd.training.config import Training
from mlkd.training.trainer import train

MODEL = Model(backbone="mobilenetv3_small_050", image_px=24, head=LabelDecoder(embedding=8, heads=2, feed_forward=8))
TRAINING = Training(epochs=3, learning_rate=3e-3, batch_size=8)
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


def test_training_learns_the_training_images(prepared: Path, tmp_path: Path) -> None:
    train(MODEL, replace(TRAINING, epochs=12, learning_rate=1e-2), Views(crop_min=1.0), prepared, tmp_path, seed=0)
    told = history(tmp_path)
    assert [entry["epoch"] for entry in told] == list(range(1, 13))
    assert told[-1]["losses"]["bce"] < 0.7 * told[0]["losses"]["bce"]


def test_best_checkpoint_is_the_best_epoch_on_select(trained: Path, prepared: Path) -> None:
    facts = checkpoint.read(trained / checkpoint.BEST)[1]
    select = read_split(prepared, "select")
    scores = evaluate.scores(checkpoint.load_model(trained), select.pixels(24))
    assert facts["select_map"] == max(entry["select_map"] for entry in history(trained))
    assert mean_average_precision(scores, select.targets) == pytest.approx(facts["select_map"], abs=1e-6)
    assert facts["labels"] == ["red", "green", "blue"]


def test_seed_decides_and_a_finished_run_is_left_alone(prepared: Path, trained: Path, tmp_path: Path) -> None:
    train(MODEL, TRAINING, VIEWS, prepared, tmp_path, seed=1)
    first, second = weights(trained), weights(tmp_path)
    assert not torch.equal(first["head.project_tokens.weight"], second["head.project_tokens.weight"])
    before = (trained / checkpoint.LAST).stat().st_mtime_ns
    train(MODEL, TRAINING, VIEWS, prepared, trained, seed=0)
    assert (trained / checkpoint.LAST).stat().st_mtime_ns == before


def test_a_run_stops_when_select_gets_no_better(prepared: Path, tmp_path: Path) -> None:
    lame = replace(TRAINING, epochs=9, learning_rate=1e-8, patience=2)
    train(MODEL, lame, VIEWS, prepared, tmp_path, seed=0)
    scores = [entry["select_map"] for entry in history(tmp_path)]
    best = scores.index(max(scores))
    assert len(scores) == best + 3 < 9
    train(MODEL, lame, VIEWS, prepared, tmp_path, seed=0)
    assert len(history(tmp_path)) == len(scores)


def test_a_run_may_end_before_its_schedule(prepared: Path, trained: Path, tmp_path: Path) -> None:
    train(MODEL, replace(TRAINING, stop_epoch=2), VIEWS, prepared, tmp_path, seed=0)
    stopped, whole = history(tmp_path), history(trained)
    assert [entry["losses"] for entry in stopped] == [entry["losses"] for entry in whole[:2]]


def test_accumulated_parts_step_like_their_mean(prepared: Path, tmp_path: Path) -> None:
    """Without batch norm and dropout, two halves of a batch give the whole batch's step."""
    model = replace(MODEL, backbone="test_convnext", image_px=32, head=replace(MODEL.head, dropout=0.0))
    whole = replace(TRAINING, epochs=1, batch_size=8)
    for name, training in (("whole", whole), ("parts", replace(whole, batch_size=4, accumulate=2))):
        (tmp_path / name).mkdir()
        train(model, training, VIEWS, prepared, tmp_path / name, seed=0)
    expected, got = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    moved = 0.0
    torch.manual_seed(0)
    for name, value in model.build(3).named_parameters():
        torch.testing.assert_close(got[name], expected[name], rtol=1e-3, atol=2e-5, msg=name)
        moved = max(moved, float((value.detach() - expected[name]).abs().max()))
    assert moved > 1e-3


def test_bfloat16_computes_otherwise_and_learns_the_same(prepared: Path, trained: Path, tmp_path: Path) -> None:
    train(MODEL, replace(TRAINING, precision="bf16"), VIEWS, prepared, tmp_path, seed=0)
    narrow, wide = history(tmp_path)[-1]["losses"]["bce"], history(trained)[-1]["losses"]["bce"]
    assert narrow != wide
    assert narrow == pytest.approx(wide, rel=0.1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA computes in fp16")
def test_float16_needs_cuda(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"training.precision: expected CUDA for fp16, .* use bf16 or fp32"):
        train(MODEL, replace(TRAINING, precision="fp16"), VIEWS, prepared, tmp_path, seed=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_float16_learns_and_keeps_its_scale(prepared: Path, trained: Path, tmp_path: Path) -> None:
    train(MODEL, replace(TRAINING, precision="fp16"), VIEWS, prepared, tmp_path, seed=0)
    assert history(tmp_path)[-1]["losses"]["bce"] == pytest.approx(history(trained)[-1]["losses"]["bce"], rel=0.1)
    assert checkpoint.read(tmp_path / checkpoint.LAST)[1]["scaler"]["scale"] > 0


def test_compiled_learns_the_same(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, compiled = torch.compile, []

    def without_compiler(module: torch.nn.Module) -> object:
        compiled.append(module)
        return whole(module, backend="eager")

    monkeypatch.setattr(torch, "compile", without_compiler)
    model, training = replace(MODEL, backbone="test_convnext", image_px=32), replace(TRAINING, epochs=1)
    for name, chosen in (("plain", training), ("compiled", replace(training, compile=True))):
        (tmp_path / name).mkdir()
        train(model, chosen, VIEWS, prepared, tmp_path / name, seed=0)
    assert len(compiled) == 1
    expected, got = weights(tmp_path / "plain"), weights(tmp_path / "compiled")
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=1e-3, atol=2e-5, msg=name)


def test_curves_are_tracked(prepared: Path, tmp_path: Path) -> None:
    train(MODEL, replace(TRAINING, epochs=8), VIEWS, prepared, tmp_path, seed=0)
    events = EventAccumulator(str(next(tmp_path.rglob("*tfevents*")).parent)).Reload()
    assert [event.step for event in events.Scalars("select_map")] == [3 * epoch for epoch in range(1, 9)]
    assert [event.step for event in events.Scalars("bce")] == [20]
    assert [event.step for event in events.Scalars("learning_rate")] == [20]


def test_a_tracker_that_is_not_installed_is_refused(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"training.trackers: expected installed ones \(tensorboard.*got 'abacus'"):
        train(MODEL, replace(TRAINING, trackers=("abacus",)), VIEWS, prepared, tmp_path, seed=0)


def test_losses_that_compare_need_a_teacher(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected only losses without a teacher"):
        train(MODEL, replace(TRAINING, losses=(LabelKL(),)), VIEWS, prepared, tmp_path, seed=0)


def test_frozen_groups_keep_their_weights_and_the_rest_moves(prepared: Path, tmp_path: Path) -> None:
    train(MODEL, replace(TRAINING, epochs=1, frozen_groups=2), VIEWS, prepared, tmp_path, seed=0)
    torch.manual_seed(0)
    trained = weights(tmp_path)
    for name, value in MODEL.build(3).backbone.named_parameters():
        frozen = name.startswith(("conv_stem", "bn1", "blocks.0."))
        assert torch.equal(trained[f"backbone.{name}"], value) is frozen, name
