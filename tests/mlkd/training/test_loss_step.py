from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mlkd.data.augment import Views
from mlkd.data.prepared import Split, read_split
from mlkd.losses import Bce, ClassAware, LabelKL, Loss, ReviewKD
from mlkd.models.outputs import Outputs
from mlkd.training.config import Training
from mlkd.training.loss_step import LossComputer

VIEWS = Views(count=2)
ROWS = np.array([4, 9, 1, 20, 13, 7])
CPU = torch.device("cpu")


def computer(split: Split, losses: Sequence[Loss], outputs: Path | None, teacher: Path | None = None) -> LossComputer:
    return LossComputer(split, Training(epochs=1, learning_rate=1e-3, losses=tuple(losses)), outputs, teacher, CPU)


def student() -> Outputs:
    generator = torch.Generator().manual_seed(0)
    return Outputs(torch.randn(6, 3, generator=generator), torch.randn(6, 3, 5, generator=generator))


def test_terms_are_weighted_losses_against_the_outputs_of_the_view(prepared: Path, outputs: Path) -> None:
    split = read_split(prepared, "train")
    given = computer(split, [Bce(weight=2.0), LabelKL(weight=3.0), ClassAware(weight=0.0)], outputs)
    targets = torch.from_numpy(split.targets[ROWS].astype(np.float32))
    distilled = []
    for view in range(2):
        terms = given.compute_terms(student(), ROWS, [], view=view, epochs=0.0)
        assert set(terms) == {"bce", "label_kl"}
        assert given.teacher_outputs is not None
        taught = given.teacher_outputs.batch(ROWS, view)
        torch.testing.assert_close(terms["bce"], 2 * Bce()(student(), student(), targets))
        torch.testing.assert_close(terms["label_kl"], 3 * LabelKL()(student(), taught, targets))
        distilled.append(float(terms["label_kl"]))
    assert distilled[0] != distilled[1]


def test_a_ramp_rises_from_0_to_the_full_weight(prepared: Path, outputs: Path) -> None:
    ramped, constant = (
        computer(read_split(prepared, "train"), [LabelKL(weight=2.0, ramp_epochs=ramp)], outputs) for ramp in (2, 0)
    )
    values = [
        float(given.compute_terms(student(), ROWS, [], view=0, epochs=epochs)["label_kl"])
        for given, epochs in ((ramped, 0.0), (ramped, 1.0), (ramped, 2.0), (ramped, 9.0), (constant, 0.0))
    ]
    full = values[-1]
    assert values == pytest.approx([0.0, full / 2, full, full, full], rel=1e-6)


def test_unknown_decisions_have_no_gradient(prepared: Path) -> None:
    split = read_split(prepared, "train")
    label_mask = np.ones(split.targets.shape, dtype=bool)
    label_mask[ROWS[:2]] = False  # two images without labels
    label_mask[ROWS[2], 1] = False
    given = computer(replace(split, label_mask=label_mask), [Bce()], None)
    student_logits = student().logits.requires_grad_()
    term = given.compute_terms(Outputs(student_logits), ROWS, [], view=0, epochs=0.0)["bce"]
    (gradient,) = torch.autograd.grad(term, student_logits)
    np.testing.assert_array_equal(gradient.numpy() != 0, label_mask[ROWS])


def test_stage_maps_are_those_of_the_loaded_teacher(prepared: Path, outputs: Path, teacher: Path) -> None:
    split = read_split(prepared, "train")
    given = computer(split, [ReviewKD()], outputs, teacher)
    assert given.teacher is not None
    images = torch.stack([VIEWS.apply(split.pixels(32)[i], seed=0, row=int(i), view=1) for i in ROWS])
    with torch.no_grad():
        maps = given.teacher(images, features=True).features
    same = replace(student(), features=maps)
    assert float(given.compute_terms(same, ROWS, [images, images], view=1, epochs=99.0)["reviewkd"]) == pytest.approx(
        0.0
    )
    other = replace(student(), features=tuple(stage + 1 for stage in maps))
    assert float(given.compute_terms(other, ROWS, [images, images], view=1, epochs=99.0)["reviewkd"]) > 0.1


def test_missing_teacher_outputs_are_refused(prepared: Path, outputs: Path) -> None:
    split = read_split(prepared, "train")
    with pytest.raises(ValueError, match="expected only losses without a teacher, got one that needs its outputs"):
        computer(split, [LabelKL()], None)
    with pytest.raises(ValueError, match="expected a teacher trained here for a loss on stage maps, got none"):
        computer(split, [ReviewKD()], outputs)
