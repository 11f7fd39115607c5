from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mlkd.data.augment import Views
from mlkd.data.prepared import Split, read_split
from mlkd.losses import Bce, ClassAware, LabelKL, Loss, ReviewKD
from mlkd.models.heads import LabelDecoder
from mlkd.models.network import Model
from mlkd.models.outputs import Outputs
from mlkd.teachers import CheckpointTeacher, cache
from mlkd.training.config import Training
from mlkd.training.loss_step import Lesson
from mlkd.training.trainer import train

MODEL = Model(backbone="mobilenetv3_small_050", image_px=32, head=LabelDecoder(embedding=8, heads=2, feed_forward=8))
VIEWS = Views(count=2)
ROWS = np.array([4, 9, 1, 20, 13, 7])
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def teacher(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("teacher")
    train(MODEL, Training(epochs=1, learning_rate=3e-3, batch_size=8), VIEWS, prepared, out, seed=0)
    return out


@pytest.fixture(scope="module")
def outputs(prepared: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("outputs")
    cache.record([CheckpointTeacher(path=teacher)], prepared, VIEWS, out, seed=0)
    return out


def lesson(split: Split, losses: Sequence[Loss], outputs: Path | None, teacher: Path | None = None) -> Lesson:
    return Lesson(split, Training(epochs=1, learning_rate=1e-3, losses=tuple(losses)), outputs, teacher, CPU)


def student() -> Outputs:
    generator = torch.Generator().manual_seed(0)
    return Outputs(torch.randn(6, 3, generator=generator), torch.randn(6, 3, 5, generator=generator))


def test_terms_are_weighted_losses_against_the_view_that_is_shown(prepared: Path, outputs: Path) -> None:
    split = read_split(prepared, "train")
    given = lesson(split, [Bce(weight=2.0), LabelKL(weight=3.0), ClassAware(weight=0.0)], outputs)
    targets = torch.from_numpy(split.targets[ROWS].astype(np.float32))
    found = []
    for view in range(2):
        terms = given.terms(student(), ROWS, [], view=view, epochs=0.0)
        assert set(terms) == {"bce", "label_kl"}
        assert given.cached is not None
        taught = given.cached.batch(ROWS, view)
        torch.testing.assert_close(terms["bce"], 2 * Bce()(student(), student(), targets))
        torch.testing.assert_close(terms["label_kl"], 3 * LabelKL()(student(), taught, targets))
        found.append(float(terms["label_kl"]))
    assert found[0] != found[1]


def test_a_ramp_grows_from_nothing_to_the_full_weight(prepared: Path, outputs: Path) -> None:
    given = lesson(read_split(prepared, "train"), [LabelKL(weight=2.0, ramp_epochs=2)], outputs)
    values = [
        float(given.terms(student(), ROWS, [], view=0, epochs=epochs)["label_kl"]) for epochs in (0.0, 1.0, 2.0, 9.0)
    ]
    full = float(
        lesson(given.split, [LabelKL(weight=2.0)], outputs).terms(student(), ROWS, [], view=0, epochs=0.0)["label_kl"]
    )
    assert values == pytest.approx([0.0, full / 2, full, full], rel=1e-6)


def test_unknown_decisions_are_no_negatives(prepared: Path) -> None:
    split = read_split(prepared, "train")
    label_mask = np.ones(split.targets.shape, dtype=bool)
    label_mask[ROWS[:2]] = False  # two images that nobody has labelled
    label_mask[ROWS[2], 1] = False
    given = lesson(replace(split, label_mask=label_mask), [Bce()], None)
    student_logits = student().logits.requires_grad_()
    term = given.terms(Outputs(student_logits), ROWS, [], view=0, epochs=0.0)["bce"]
    (gradient,) = torch.autograd.grad(term, student_logits)
    np.testing.assert_array_equal(gradient.numpy() != 0, label_mask[ROWS])


def test_stage_maps_come_from_the_teacher_that_runs_along(prepared: Path, outputs: Path, teacher: Path) -> None:
    split = read_split(prepared, "train")
    given = lesson(split, [ReviewKD()], outputs, teacher)
    assert given.live is not None
    images = torch.stack([VIEWS.apply(split.pixels(32)[i], seed=0, image=int(i), view=1) for i in ROWS])
    with torch.no_grad():
        maps = given.live(images, features=True).features
    same = replace(student(), features=maps)
    assert float(given.terms(same, ROWS, [images, images], view=1, epochs=99.0)["reviewkd"]) == pytest.approx(0.0)
    other = replace(student(), features=tuple(one + 1 for one in maps))
    assert float(given.terms(other, ROWS, [images, images], view=1, epochs=99.0)["reviewkd"]) > 0.1


def test_what_a_loss_needs_has_to_be_there(prepared: Path, outputs: Path) -> None:
    split = read_split(prepared, "train")
    with pytest.raises(ValueError, match="expected only losses without a teacher, got one that needs its outputs"):
        lesson(split, [LabelKL()], None)
    with pytest.raises(ValueError, match="expected a teacher trained here for a loss on stage maps, got none"):
        lesson(split, [ReviewKD()], outputs)
