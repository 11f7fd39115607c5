"""Two processes with half a batch each give the results of one process with the whole batch."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mlkd.losses.base import LossInputs
from mlkd.models import checkpoint
from mlkd.training.distributed import gather
from tests.helpers import ranks
from tests.helpers.ranks import IMAGES, LOSSES, PROCESSES, SCENES, Net, batch, measure


@pytest.fixture(scope="module")
def together(prepared: Path, outputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that two processes wrote."""
    folder = tmp_path_factory.mktemp("processes")
    ranks.run(prepared, outputs, folder)
    return folder


@pytest.fixture(scope="module")
def halves(together: Path) -> list[Any]:
    """What each process measured."""
    return [torch.load(together / f"{rank}.pt") for rank in range(PROCESSES)]


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("kind", LOSSES)
def test_losses_and_gradients_equal_those_of_one_process(halves: list[Any], kind: str, scene: str) -> None:
    value, *gradients = measure(Net(7, seed=0), LOSSES[kind], scene, slice(None))
    values = torch.stack([half[kind, scene][0] for half in halves])
    torch.testing.assert_close(values.mean(), value, rtol=1e-6, atol=1e-12)
    if LOSSES[kind].compares_images:
        torch.testing.assert_close(values, value.expand(PROCESSES), rtol=1e-6, atol=1e-12)
    for half in halves:
        torch.testing.assert_close(half[kind, scene][1:], gradients, rtol=1e-6, atol=1e-12)
    assert value > 0 or "positives" in scene


@pytest.mark.usefixtures("load_in_process")
def test_training_gives_the_weights_of_one_process(
    together: Path, prepared: Path, outputs: Path, tmp_path: Path
) -> None:
    ranks.train_student(prepared, outputs, tmp_path)
    expected, got = (checkpoint.read(out / checkpoint.LAST) for out in (tmp_path, together / "student"))
    assert got[1]["step"] == expected[1]["step"] == 3
    compared = {name for name in expected[0] if "project_query" not in name and "project_key" not in name}
    assert {"model.tagger.head.project_value.weight", "ema.head.project_value.weight"} < compared
    for name in compared:  # without those whose gradients are rounding errors: the backbone gives one position
        torch.testing.assert_close(got[0][name], expected[0][name], rtol=1e-3, atol=3e-5, msg=name)
    of_both, of_one = (json.loads((out / "history.json").read_text()) for out in (together / "student", tmp_path))
    for epoch, other in zip(of_both, of_one, strict=True):
        assert epoch["losses"] == pytest.approx(other["losses"], rel=1e-3)


@pytest.mark.parametrize("kind", [kind for kind, loss in LOSSES.items() if loss.compares_images])
def test_losses_between_images_differ_on_half_a_batch(kind: str) -> None:
    whole, first, second = (
        measure(Net(7, seed=0), LOSSES[kind], "all known", rows)[0] for rows in (slice(None), slice(4), slice(4, None))
    )
    assert abs((first + second) / 2 - whole) > 0.01 * whole


def test_a_single_process_gathers_nothing() -> None:
    images, targets, label_mask = batch("partly known")
    outputs = replace(Net(7, seed=0)(images), features=(torch.zeros(IMAGES, 1, 1, 1),))
    inputs = LossInputs(outputs, outputs, targets, label_mask)
    assert gather(inputs) is inputs
