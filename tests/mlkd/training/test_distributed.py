"""Two processes with half a batch each give what one process with the whole batch gives."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor, distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from mlkd.losses import Loss
from mlkd.models.outputs import Outputs
from mlkd.training.distributed import gathered

PROCESSES, IMAGES, LABELS = 2, 8, 5
LOSSES: dict[str, Loss] = {
    loss.kind: loss for loss in (kind() for kind in get_args(Loss)) if "features" not in loss.needs
}
SCENES = ("all known", "partly known", "second process without positives", "no positives")


class Net(nn.Module):
    """Images (B, 6) to all of a tagger's outputs that are rows of a batch."""

    def __init__(self, width: int, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.body, self.head = nn.Linear(6, width), nn.Linear(width, LABELS * 4)
            self.classifier = nn.Linear(4, 1)
        self.double()

    def forward(self, images: Tensor) -> Outputs:
        pooled = torch.tanh(self.body(images))
        embeddings = torch.tanh(self.head(pooled)).view(-1, LABELS, 4)
        return Outputs(self.classifier(embeddings)[:, :, 0], embeddings, pooled)


def batch(scene: str) -> tuple[Tensor, Tensor, Tensor | None]:
    """Images, targets, known."""
    generator = torch.Generator().manual_seed(SCENES.index(scene))
    images = torch.randn(IMAGES, 6, generator=generator, dtype=torch.float64)
    targets = (torch.rand(IMAGES, LABELS, generator=generator) < 0.6).double()
    label_mask = torch.rand(IMAGES, LABELS, generator=generator) < 0.7
    if scene == "partly known":
        return images, targets * label_mask, label_mask
    positive = {"second process without positives": IMAGES // PROCESSES, "no positives": 0}.get(scene, IMAGES)
    return images, targets * (torch.arange(IMAGES)[:, None] < positive), None


def measure(net: nn.Module, loss: Loss, scene: str, rows: slice) -> list[Tensor]:
    """Value, then the gradient of every parameter."""
    images, targets, label_mask = batch(scene)
    net.zero_grad()
    teacher = Net(11, seed=1)(images[rows])
    student = net(images[rows])
    given = student, teacher, targets[rows], None if label_mask is None else label_mask[rows]
    value = loss(*(gathered(*given) if loss.compares_images else given))
    idle = 0 * (student.logits.sum() + student.embeddings.sum() + student.pooled.sum())  # no parameter may be left out
    (value + idle).backward()
    gradients = [parameter.grad for parameter in net.parameters()]
    return [value.detach(), *(gradient.clone() for gradient in gradients if gradient is not None)]


def work(rank: int, folder: Path) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    distributed.init_process_group("gloo", meeting, timedelta(seconds=60), PROCESSES, rank)
    net = DistributedDataParallel(Net(7, seed=0))
    rows = slice(rank * IMAGES // PROCESSES, (rank + 1) * IMAGES // PROCESSES)
    found = {(kind, scene): measure(net, loss, scene, rows) for kind, loss in LOSSES.items() for scene in SCENES}
    torch.save(found, folder / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> list[dict[tuple[str, str], list[Tensor]]]:
    """What each of the processes measured."""
    folder = tmp_path_factory.mktemp("processes")
    multiprocessing.start_processes(work, (folder,), PROCESSES, start_method="forkserver")
    return [torch.load(folder / f"{rank}.pt") for rank in range(PROCESSES)]


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("kind", LOSSES)
def test_equals_one_process(halves: list[dict[tuple[str, str], list[Tensor]]], kind: str, scene: str) -> None:
    value, *gradients = measure(Net(7, seed=0), LOSSES[kind], scene, slice(None))
    values = torch.stack([half[kind, scene][0] for half in halves])
    torch.testing.assert_close(values.mean(), value, rtol=1e-6, atol=1e-12)
    if LOSSES[kind].compares_images:
        torch.testing.assert_close(values, value.expand(PROCESSES), rtol=1e-6, atol=1e-12)
    for half in halves:
        torch.testing.assert_close(half[kind, scene][1:], gradients, rtol=1e-6, atol=1e-12)
    assert value > 0 or "positives" in scene


@pytest.mark.parametrize("kind", [kind for kind, loss in LOSSES.items() if loss.compares_images])
def test_halves_on_their_own_would_not_do(kind: str) -> None:
    whole, first, second = (
        measure(Net(7, seed=0), LOSSES[kind], "all known", rows)[0] for rows in (slice(None), slice(4), slice(4, None))
    )
    assert abs((first + second) / 2 - whole) > 0.01 * whole


def test_one_process_gets_back_what_it_gave() -> None:
    images, targets, label_mask = batch("partly known")
    outputs = replace(Net(7, seed=0)(images), features=(torch.zeros(IMAGES, 1, 1, 1),))
    given = outputs, outputs, targets, label_mask
    assert all(got is one for got, one in zip(gathered(*given), given, strict=True))
