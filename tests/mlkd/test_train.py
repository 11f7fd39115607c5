from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mlkd import checkpoint, evaluate, optimisation, teacher_outputs
from mlkd import train as training_loop
from mlkd.data.prepared import read_split
from mlkd.losses import Bce, ClassAware, InstanceAware, LabelKL
from mlkd.metrics import mean_average_precision
from mlkd.models import Model
from mlkd.models.heads import LabelDecoder
from mlkd.teacher_outputs import TeacherOutputs
from mlkd.train import NonFiniteLoss, Training, train
from mlkd.views import Views

TEACHER = Model(backbone="mobilenetv3_small_050", image_px=32, head=LabelDecoder(embedding=8, heads=2, feed_forward=8))
STUDENT = replace(TEACHER, image_px=24, head=LabelDecoder(embedding=4, heads=2, feed_forward=4))
TRAINING = Training(epochs=3, learning_rate=3e-3, batch_size=8)
VIEWS = Views(count=2)
ALL_LOSSES = (Bce(), LabelKL(), ClassAware(ramp_epochs=2), InstanceAware(ramp_epochs=2))


@pytest.fixture(scope="module")
def teacher(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("teacher")
    train(TEACHER, TRAINING, VIEWS, prepared, out, seed=0)
    return out


@pytest.fixture(scope="module")
def outputs(teacher: Path, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("outputs")
    teacher_outputs.record(teacher, prepared, VIEWS, out, seed=0)
    return out


def weights(folder: Path, name: str = checkpoint.LAST) -> dict[str, torch.Tensor]:
    return checkpoint.read(folder / name)[0]


def test_training_learns_the_training_pictures(prepared: Path, tmp_path: Path) -> None:
    train(TEACHER, replace(TRAINING, epochs=12, learning_rate=1e-2), Views(crop_min=1.0), prepared, tmp_path, seed=0)
    history = json.loads((tmp_path / "history.json").read_text())
    assert [entry["epoch"] for entry in history] == list(range(1, 13))
    assert history[-1]["losses"]["bce"] < 0.7 * history[0]["losses"]["bce"]
    assert any(tmp_path.glob("tensorboard/*"))


def test_best_checkpoint_is_the_best_epoch_on_select(teacher: Path, prepared: Path) -> None:
    history = json.loads((teacher / "history.json").read_text())
    facts = checkpoint.read(teacher / checkpoint.BEST)[1]
    select = read_split(prepared, "select")
    scores = evaluate.scores(checkpoint.load_model(teacher), select.pixels(32))
    assert facts["select_map"] == max(entry["select_map"] for entry in history)
    assert mean_average_precision(scores, select.targets) == pytest.approx(facts["select_map"], abs=1e-6)
    assert facts["labels"] == ["red", "green", "blue"]


@pytest.mark.parametrize("killed_in_epoch", [1, 2])
def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(
    prepared: Path, outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_in_epoch: int
) -> None:
    training = replace(TRAINING, losses=ALL_LOSSES)

    def run(out: Path) -> None:
        train(STUDENT, training, VIEWS, prepared, out, seed=3, teacher_outputs=outputs)

    (tmp_path / "whole").mkdir()
    run(tmp_path / "whole")
    killed = tmp_path / "killed"
    killed.mkdir()
    step = training_loop._Run._step

    def dies(self: training_loop._Run, *batch: object) -> dict[str, float]:
        if self.epoch == killed_in_epoch and self.step % 3 == 2:
            raise KeyboardInterrupt
        return step(self, *batch)  # type: ignore[arg-type]

    monkeypatch.setattr(training_loop._Run, "_step", dies)
    with pytest.raises(KeyboardInterrupt):
        run(killed)
    monkeypatch.undo()
    run(killed)
    for name in (checkpoint.BEST, checkpoint.LAST):
        assert (tmp_path / "whole" / name).read_bytes() == (killed / name).read_bytes(), name
    epochs = [entry["epoch"] for entry in json.loads((killed / "history.json").read_text())]
    assert epochs == [1, 2, 3]


def test_seed_decides_and_a_finished_run_is_left_alone(prepared: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        train(STUDENT, replace(TRAINING, epochs=1), VIEWS, prepared, tmp_path / str(seed), seed=seed)
    first, second = (weights(tmp_path / str(seed)) for seed in (0, 1))
    assert not torch.equal(first["model.head.project_tokens.weight"], second["model.head.project_tokens.weight"])
    before = (tmp_path / "0" / checkpoint.LAST).stat().st_mtime_ns
    train(STUDENT, replace(TRAINING, epochs=1), VIEWS, prepared, tmp_path / "0", seed=0)
    assert (tmp_path / "0" / checkpoint.LAST).stat().st_mtime_ns == before


def test_teacher_outputs_are_the_teachers_on_each_view(teacher: Path, prepared: Path, outputs: Path) -> None:
    split = read_split(prepared, "train")
    stored = TeacherOutputs.read(outputs, split)
    model = checkpoint.load_model(teacher)
    chosen = np.array([20, 3, 11])
    for view in range(2):
        images = torch.stack([VIEWS.apply(split.pixels(32)[i], seed=0, picture=int(i), view=view) for i in chosen])
        with torch.no_grad():
            expected = model(images)
        got = stored.batch(chosen, view)
        torch.testing.assert_close(got.logits, expected.logits, atol=5e-3, rtol=2e-3)  # stored as float16
        positive = torch.from_numpy(split.targets[chosen]).bool()
        assert got.embeddings is not None
        torch.testing.assert_close(got.embeddings[positive], expected.embeddings[positive], atol=5e-3, rtol=2e-3)
        assert not got.embeddings[~positive].any()


def test_teacher_outputs_go_on_where_they_were_killed(
    teacher: Path, prepared: Path, outputs: Path, tmp_path: Path
) -> None:
    def dies(what: str, done: int, total: int, facts: object = None, /) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        teacher_outputs.record(teacher, prepared, VIEWS, tmp_path, seed=0, progress=dies)
    seen: list[int] = []
    teacher_outputs.record(teacher, prepared, VIEWS, tmp_path, seed=0, progress=lambda w, d, t, f=None: seen.append(d))
    assert min(seen) > 24  # the first view of the 24 pictures was not computed again
    for name in ("logits.npy", "embeddings.npy"):
        assert (tmp_path / name).read_bytes() == (outputs / name).read_bytes()


def test_teacher_outputs_of_other_pictures_are_refused(prepared: Path, outputs: Path) -> None:
    with pytest.raises(
        ValueError, match=r"teacher outputs in .*: expected \(\d+, 3\) pictures and labels, got \(24, 3\)"
    ):
        TeacherOutputs.read(outputs, read_split(prepared, "test"))


def test_losses_that_compare_need_a_teacher(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected only bce without a teacher"):
        train(STUDENT, replace(TRAINING, losses=ALL_LOSSES), VIEWS, prepared, tmp_path, seed=0)


def test_ramp_grows_from_nothing_to_the_full_weight(prepared: Path, outputs: Path, tmp_path: Path) -> None:
    training = replace(TRAINING, epochs=1, losses=(Bce(), LabelKL(weight=2.0, ramp_epochs=2)))
    run = training_loop._Run(STUDENT, training, VIEWS, prepared, tmp_path, 0, outputs, lambda *a: None)
    images = torch.from_numpy(np.array(run.split.pixels(24)[:8]))
    teacher = run._teacher_batch(np.arange(8), run.tagger(images))
    student = run.tagger.eval()(images)
    targets = torch.from_numpy(run.split.targets[:8].astype(np.float32))

    def at(step: int) -> float:
        run.step = step
        return run._terms(student, teacher, targets)["label_kl"].item()

    steps = run.steps_per_epoch
    assert at(0) == 0.0
    full = 2 * LabelKL()(student, teacher, targets).item()
    assert at(steps) == pytest.approx(full / 2, rel=1e-5)
    assert at(2 * steps) == at(9 * steps) == pytest.approx(full, rel=1e-5)


def test_a_diverging_run_names_step_term_and_pictures(prepared: Path, tmp_path: Path) -> None:
    run = training_loop._Run(STUDENT, TRAINING, VIEWS, prepared, tmp_path, 0, None, lambda *a: None)
    with torch.no_grad():
        run.tagger.head.label_bias.fill_(float("nan"))
    with pytest.raises(NonFiniteLoss, match=r"step 0: .*\['bce'\].*train/\d+"):
        run.train_epoch()


def test_frozen_groups_keep_their_weights_and_the_rest_moves(prepared: Path, tmp_path: Path) -> None:
    train(TEACHER, replace(TRAINING, epochs=1, frozen_groups=2), VIEWS, prepared, tmp_path, seed=0)
    torch.manual_seed(0)
    first = TEACHER.build(3)
    trained = weights(tmp_path)
    for name, value in first.backbone.named_parameters():
        frozen = name.startswith(("conv_stem", "bn1", "blocks.0."))
        assert torch.equal(trained[f"model.backbone.{name}"], value) is frozen, name


def test_decay_spares_biases_and_norms_and_the_backbone_has_its_own_rate() -> None:
    tagger = TEACHER.build(3)
    adam = optimisation.optimiser(tagger, 1e-2, 0.1, 0.05)
    of_backbone = {id(p) for p in tagger.backbone.parameters()}
    for group in adam.param_groups:
        for parameter in group["params"]:
            assert group["weight_decay"] == (0.05 if parameter.ndim > 1 else 0.0)
            assert group["peak"] == pytest.approx(1e-3 if id(parameter) in of_backbone else 1e-2)
    trained = sum(p.requires_grad for p in tagger.parameters())
    assert sum(len(group["params"]) for group in adam.param_groups) == trained


def test_one_cycle_rises_then_falls() -> None:
    shares = [optimisation.one_cycle(step, 100, 0.2) for step in range(100)]
    assert shares[0] < 0.1
    assert max(shares) == shares[20] == 1.0
    assert shares[:21] == sorted(shares[:21])
    assert shares[20:] == sorted(shares[20:], reverse=True)
    assert shares[-1] < 0.01


@pytest.mark.parametrize(("field", "value"), [("epochs", 0), ("learning_rate", 0.0), ("batch_size", 1), ("losses", ())])
def test_ranges_are_checked(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"training.{field}: expected"):
        replace(TRAINING, **{field: value})
