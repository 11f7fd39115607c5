"""How long the losses that compare embeddings or images take, and what memory: `python scripts/speed_losses.py`.

Against the direct way of writing them: CD and ID as one loop over labels and one over images, the angles of RKD as one
cube.  Times are of value and gradient, interleaved in one process, min and median.  Memory is the most that one step
holds beyond its inputs, its result included, as torch's own allocator counts it.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from torch import Tensor
from torch.nn.functional import normalize, smooth_l1_loss
from torch.profiler import ProfilerActivity, profile

from mlkd.losses.class_aware import class_aware
from mlkd.losses.instance_aware import instance_aware
from mlkd.losses.rkd import rkd

REPEATS = 9
MEBIBYTE = 2**20

Step = Callable[[], Tensor]


def main() -> None:
    # a freed block of this size makes glibc keep what is freed later, as it does in any training process; without it
    # the times are those of the system handing out the same pages again and again
    torch.zeros(31 * MEBIBYTE, dtype=torch.uint8)
    print("CD + ID, B=64, L=80, D=768, 3 positives an image: milliseconds, min and median")
    print(f"{'positives':<12}{'threads':>8}{'largest label':>15}{'direct loop':>18}{'ours':>16}{'ratio':>16}")
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for tail in (False, True):
            structural(threads, tail)
    print("\n2 threads: milliseconds, and MiB")
    report("256 x 1000 x 128 embeddings", 256 * 1000 * 128 * 4, {"CD + ID, 5 positives an image": big()})
    steps = {"RKD, angles and distances": angles(), "angles as one cube, in float32": angles_directly()}
    report("a float32 cube of 256 images", 256**3 * 4, steps)


def structural(threads: int, tail: bool) -> None:
    positive = long_tailed(64, 80) if tail else uniform(64, 80, 3)
    student, teacher = torch.randn(64, 80, 768, requires_grad=True), torch.randn(64, 80, 768)

    def ours() -> Tensor:
        value = class_aware(student, teacher, positive) + instance_aware(student, teacher, positive)
        return torch.autograd.grad(value, student)[0]

    def direct() -> Tensor:
        return torch.autograd.grad(directly(student, teacher, positive), student)[0]

    torch.testing.assert_close(ours(), direct(), rtol=1e-3, atol=1e-6)
    slow, fast = interleaved(direct, ours)
    ratios = [f(slow) / f(fast) for f in (min, statistics.median)]
    print(
        f"{'long-tailed' if tail else 'uniform':<12}{threads:>8}{int(positive.sum(0).max()):>15}"
        f"{shown(slow):>18}{shown(fast):>16}{ratios[0]:>8.1f}{ratios[1]:>7.1f}x"
    )


def directly(student: Tensor, teacher: Tensor, positive: Tensor) -> Tensor:
    """CD + ID as they are defined."""
    total = student.new_zeros(())
    for label in range(positive.shape[1]):
        mask = positive[:, label]
        if mask.sum() > 1:
            total = total + one_structure(student[mask, label], teacher[mask, label])
    for image in range(len(positive)):
        mask = positive[image]
        if mask.sum() > 1:
            total = total + one_structure(student[image, mask], teacher[image, mask])
    return total / len(positive)


def one_structure(student: Tensor, teacher: Tensor) -> Tensor:
    distances_s, distances_t = torch.cdist(student, student), torch.cdist(teacher, teacher)
    pairs = len(student) * (len(student) - 1)
    relative_s, relative_t = distances_s * pairs / distances_s.sum(), distances_t * pairs / distances_t.sum()
    return smooth_l1_loss(relative_s, relative_t, reduction="sum") / len(student)


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


def interleaved(*steps: Step) -> list[list[float]]:
    """Seconds of each repeat of each step, the steps taking turns."""
    seconds: list[list[float]] = [[] for _ in steps]
    for _ in range(REPEATS):
        for step, taken in zip(steps, seconds, strict=True):
            started = time.perf_counter()
            step()
            taken.append(time.perf_counter() - started)
    return seconds


def shown(seconds: list[float]) -> str:
    return f"{1e3 * min(seconds):.1f} {1e3 * statistics.median(seconds):.1f}"


def report(of: str, unit: int, steps: dict[str, Step]) -> None:
    for step in steps.values():
        step()
    for (case, step), seconds in zip(steps.items(), interleaved(*steps.values()), strict=True):
        most = peak(step)
        print(f"{case:<34}{shown(seconds):>18}{most / MEBIBYTE:>8.0f} ={most / unit:>5.2f} x {of}")


def peak(step: Step) -> int:
    """The most bytes that a step holds at a time."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step()
    assert recorded.profiler is not None
    events = recorded.profiler.kineto_results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    return max(itertools.accumulate(change for _, change in changes))


def big() -> Step:
    images, labels, length = 256, 1000, 128
    positive = uniform(images, labels, 5)
    student, teacher = torch.randn(images, labels, length, requires_grad=True), torch.randn(images, labels, length)

    def step() -> Tensor:
        value = class_aware(student, teacher, positive) + instance_aware(student, teacher, positive)
        return torch.autograd.grad(value, student)[0]

    return step


def angles() -> Step:
    student, teacher = features()
    return lambda: torch.autograd.grad(rkd(student, teacher), student)[0]


def angles_directly() -> Step:
    student, teacher = features()

    def cosines(vectors: Tensor) -> Tensor:
        unit = normalize(vectors[None] - vectors[:, None], dim=2)
        return torch.bmm(unit, unit.transpose(1, 2))

    def step() -> Tensor:
        return torch.autograd.grad(smooth_l1_loss(cosines(student), cosines(teacher)), student)[0]

    return step


def features() -> tuple[Tensor, Tensor]:
    return torch.randn(256, 512, requires_grad=True), torch.randn(256, 512)


if __name__ == "__main__":
    main()
