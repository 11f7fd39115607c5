"""Two processes that train together: a student by `train`, and the gradients of every loss between images."""

import os
from datetime import timedelta
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor, distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from mlkd.data.augment import Views
from mlkd.losses import Bce, ClassAware, LabelKL, Loss, Pkt
from mlkd.losses.base import MAPS, LossInputs
from mlkd.models.config import Model
from mlkd.models.heads import LabelDecoder
from mlkd.models.outputs import Outputs
from mlkd.training import batches, trainer
from mlkd.training.config import Training
from mlkd.training.distributed import gather

PROCESSES, IMAGES, LABELS = 2, 8, 5
LOSSES: dict[str, Loss] = {loss.kind: loss for loss in (kind() for kind in get_args(Loss)) if not loss.needs & {*MAPS}}
SCENES = ("all known", "partly known", "second process without positives", "no positives")

# no batch norm, whose statistics are those of a process's own part of the batch, and no dropout
MODEL = Model(
    backbone="test_convnext", image_px=32, head=LabelDecoder(embedding=8, heads=2, feed_forward=8, dropout=0.0)
)
TRAINING = Training(
    epochs=1,
    learning_rate=1e-3,
    batch_size=4,
    accumulate=2,
    losses=(Bce(), LabelKL(), ClassAware(weight=5.0, memory=4), Pkt(weight=1000.0)),
    save_steps=2,
    trackers=(),
)


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
    """Images, targets, label mask."""
    generator = torch.Generator().manual_seed(SCENES.index(scene))
    images = torch.randn(IMAGES, 6, generator=generator, dtype=torch.float64)
    targets = (torch.rand(IMAGES, LABELS, generator=generator) < 0.6).double()
    label_mask = torch.rand(IMAGES, LABELS, generator=generator) < 0.7
    if scene == "partly known":
        return images, targets * label_mask, label_mask
    positive = {"second process without positives": IMAGES // PROCESSES, "no positives": 0}.get(scene, IMAGES)
    return images, targets * (torch.arange(IMAGES)[:, None] < positive), None


def measure(student: nn.Module, loss: Loss, scene: str, rows: slice) -> list[Tensor]:
    """Value, then the gradient of every parameter."""
    images, targets, label_mask = batch(scene)
    student.zero_grad()
    outputs = student(images[rows])
    mask = None if label_mask is None else label_mask[rows]
    inputs = LossInputs(outputs, Net(11, seed=1)(images[rows]), targets[rows], mask)
    value = loss.value(gather(inputs) if loss.compares_images else inputs)
    unused = 0 * (outputs.logits.sum() + outputs.embeddings.sum() + outputs.pooled.sum())  # every parameter is used
    (value + unused).backward()
    gradients = [parameter.grad for parameter in student.parameters()]
    return [value.detach(), *(gradient.clone() for gradient in gradients if gradient is not None)]


def train_student(prepared: Path, outputs: Path, out: Path) -> None:
    out.mkdir(exist_ok=True)
    trainer.train(MODEL, TRAINING, Views(count=1), prepared, out, seed=3, teacher_outputs=outputs)


def run(prepared: Path, outputs: Path, folder: Path) -> None:
    """Train into `folder`/student, and write what process N measured to `folder`/N.pt."""
    arguments = (prepared, outputs, folder)
    multiprocessing.start_processes(_work, arguments, PROCESSES, start_method="forkserver")


def _work(rank: int, prepared: Path, outputs: Path, folder: Path) -> None:
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": PROCESSES, "LOCAL_WORLD_SIZE": PROCESSES}
    os.environ |= {name: str(number) for name, number in numbers.items()}  # as torchrun sets them
    os.environ |= {"GLOO_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    batches.workers = lambda **_: 0  # type: ignore[assignment]  # a worker would import torch again
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder}/meeting", timedelta(seconds=120), PROCESSES, rank)
    student = DistributedDataParallel(Net(7, seed=0))
    rows = slice(rank * IMAGES // PROCESSES, (rank + 1) * IMAGES // PROCESSES)
    measured = {(kind, scene): measure(student, loss, scene, rows) for kind, loss in LOSSES.items() for scene in SCENES}
    torch.save(measured, folder / f"{rank}.pt")
    train_student(prepared, outputs, folder / "student")
    distributed.destroy_process_group()
