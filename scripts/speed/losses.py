"""Losses between embeddings or images, value and gradient, against the direct way of writing them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize, smooth_l1_loss
from torch.profiler import ProfilerActivity, profile

from mlkd.losses.class_aware import class_aware
from mlkd.losses.instance_aware import instance_aware
from mlkd.losses.rkd import rkd
from scripts.speed import direct
from scripts.speed.ratio import Ratio, Way, seconds

CALLS = 5
BATCH = (64, 80, 768)  # images, labels, length of an embedding
LARGE = (256, 1000, 128)
POOLED = (256, 512)  # images, length of a feature

RATIOS = (
    Ratio(what="CD + ID: loops ÷ ours", top=("CD + ID, loops",), bottom=("CD + ID",), limit=3),
    Ratio(
        what="CD + ID, one label in every image: loops ÷ ours",
        top=("CD + ID, long tail, loops",),
        bottom=("CD + ID, long tail",),
        limit=3,
    ),
    Ratio(what="RKD: angles as one cube ÷ ours", top=("angles as a cube",), bottom=("RKD",), limit=1),
    Ratio(
        what="CD + ID of 256 images, 1,000 labels: memory ÷ embeddings",
        top=("CD + ID, bytes",),
        bottom=("embeddings, bytes",),
        limit=3,
        at_least=False,
    ),
)


def ways(_: Path) -> dict[str, Way]:
    # a freed block of this size makes glibc keep what is freed later, as it does in any training process; without it
    # the times are those of the system handing out the same pages again and again
    torch.zeros(31 * 2**20, dtype=torch.uint8)
    few, tail, many = uniform(*BATCH[:2], 3), long_tailed(*BATCH[:2]), uniform(*LARGE[:2], 5)
    embeddings, large, images = vectors(BATCH), vectors(LARGE), vectors(POOLED)
    steps: dict[str, Callable[[], object]] = {
        "CD + ID, loops": partial(gradient, direct.structural, *embeddings, few),
        "CD + ID": partial(gradient, ours, *embeddings, few),
        "CD + ID, long tail, loops": partial(gradient, direct.structural, *embeddings, tail),
        "CD + ID, long tail": partial(gradient, ours, *embeddings, tail),
        "angles as a cube": partial(gradient, cube, *images),
        "RKD": partial(gradient, rkd, *images),
    }
    timed: dict[str, Way] = {name: partial(seconds, step, CALLS) for name, step in steps.items()}
    return timed | {
        "CD + ID, bytes": lambda: peak(lambda: gradient(ours, *large, many)),
        "embeddings, bytes": lambda: float(large[0].nbytes),
    }


def vectors(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    return torch.randn(shape, requires_grad=True), torch.randn(shape)


def gradient(loss: Callable[..., Tensor], student: Tensor, *others: Tensor) -> Tensor:
    return torch.autograd.grad(loss(student, *others), student)[0]


def ours(student: Tensor, teacher: Tensor, positive: Tensor) -> Tensor:
    return class_aware(student, teacher, positive) + instance_aware(student, teacher, positive)


def cube(student: Tensor, teacher: Tensor) -> Tensor:
    """The angles of RKD as they are defined."""

    def cosines(vectors: Tensor) -> Tensor:
        unit = normalize(vectors[None] - vectors[:, None], dim=2)
        return torch.bmm(unit, unit.transpose(1, 2))

    return smooth_l1_loss(cosines(student), cosines(teacher))


def uniform(images: int, labels: int, count: int) -> Tensor:
    """`count` positives an image, every label as likely."""
    chosen = torch.rand(images, labels, generator=torch.Generator().manual_seed(0)).topk(count, 1).indices
    return torch.zeros(images, labels, dtype=torch.bool).scatter(1, chosen, True)


def long_tailed(images: int, labels: int) -> Tensor:
    """Three positives an image: the first label always, the others with a frequency of one over their rank."""
    frequency = 1 / torch.arange(1.0, labels).expand(images, -1)
    chosen = 1 + torch.multinomial(frequency, 2, generator=torch.Generator().manual_seed(0))
    positive = torch.zeros(images, labels, dtype=torch.bool).scatter(1, chosen, True)
    positive[:, 0] = True
    return positive


def peak(step: Callable[[], object]) -> float:
    """The most bytes that a step holds beyond its inputs, its result included, as torch's allocator counts them."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step()
    assert recorded.profiler is not None
    events = recorded.profiler.kineto_results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    return max(itertools.accumulate(change for _, change in changes))
