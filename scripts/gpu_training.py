"""How fast a student trains, and how much of that time the GPU computes: `python -m scripts.gpu_training --px 224`.

Images, weights and teacher are random; nothing is downloaded, and nothing is left on the disk.  The plain loop has the
same model, precision and loading processes, but runs the teacher in every step, and computes the published losses in
loops over labels and images.  Without a GPU it runs on the CPU, and no share is printed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader

from mlkd.data.loader import AugmentedImages, workers
from mlkd.data.prepared import read_split
from mlkd.losses import Bce, ClassAware, InstanceAware, LabelKL
from mlkd.models import checkpoint
from mlkd.models.config import Model
from mlkd.models.heads import LabelDecoder
from mlkd.training.config import Training
from scripts.speed import direct
from scripts.speed.trial import Clock, Trial

LABELS = 80
HEAD = LabelDecoder(embedding=768, heads=8, feed_forward=2048)
PUBLISHED = (Bce(), LabelKL(weight=10 / 64), ClassAware(weight=100), InstanceAware(weight=1000))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    chosen = options(arguments)
    with tempfile.TemporaryDirectory() as name:
        trial = Trial(
            folder=Path(name),
            outputs=Path(name) / "outputs",
            images=chosen.images,
            labels=LABELS,
            student=Model(backbone=chosen.backbone, image_px=chosen.px, head=HEAD),
            teacher=Model(backbone=chosen.teacher, image_px=chosen.px, head=HEAD),
            training=Training(epochs=chosen.epochs, learning_rate=1e-4, batch_size=chosen.batch, trackers=()),
        )
        measure(trial)


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=8192, help="of an epoch (%(default)s)")
    parser.add_argument("--batch", type=int, default=256, help="images of a step (%(default)s)")
    parser.add_argument("--epochs", type=int, default=3, help="the first warms up, the last is profiled (%(default)s)")
    parser.add_argument("--px", type=int, default=224, help="side of an image in pixels (%(default)s)")
    parser.add_argument("--backbone", default="resnet34", help="of the student, a timm model (%(default)s)")
    parser.add_argument("--teacher", default="resnet101", help="backbone of the teacher (%(default)s)")
    chosen = parser.parse_args(arguments)
    least = 3 if torch.cuda.is_available() else 2
    if chosen.epochs < least or chosen.images < 2 * chosen.batch:
        parser.error(f"expected at least {least} epochs of 2 batches, got {chosen.epochs} of {chosen.images} images")
    return chosen


def measure(trial: Trial) -> None:
    """Train in each way, and print a line for each."""
    cuda = torch.cuda.is_available()
    trial.write_set()
    trial.write_teacher()
    trial.record()
    ways: dict[str, Callable[[Clock], None]] = {
        "plain loop": lambda clock: plain_loop(trial, clock),
        "student without a teacher": lambda clock: trial.steps("alone", clock),
        "distilled": lambda clock: trial.steps("distilled", clock, losses=PUBLISHED),
    }
    if cuda:
        ways["distilled, torch.compile"] = lambda clock: trial.steps("compiled", clock, losses=PUBLISHED, compile=True)
    device = torch.cuda.get_device_name() if cuda else "CPU"
    print(f"{trial.student.backbone} at {trial.student.image_px} px, batches of {trial.training.batch_size}, {device}")
    print(f"{'':26}{'images/s':>10}{'GPU computes':>14}{'of plain loop':>15}")
    plain = 0.0
    for name, way in ways.items():
        clock = Clock(trial.training.epochs, profile(activities=[ProfilerActivity.CUDA]) if cuda else None)
        way(clock)
        rate = clock.images_per_s(trial.training.batch_size)
        plain = plain or rate
        print(f"{name:26}{rate:10.1f}{computing(clock):>14}{rate / plain:14.2f}x")


def plain_loop(trial: Trial, clock: Clock) -> None:
    """Train as one writes it first, without this project's loop, stored outputs and losses."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    split, batch, epochs = read_split(trial.data, "train"), trial.training.batch_size, trial.training.epochs
    images = AugmentedImages(split, (trial.student.image_px,), trial.views, seed=0, view=0)
    loading = workers(cuda=device.type == "cuda", ranks=1)
    loader = DataLoader(images, batch_size=batch, shuffle=True, drop_last=True, num_workers=loading)
    teacher = checkpoint.load_model(trial.teacher_folder).to(device)
    student = trial.student.build(len(split.labels)).to(device).train()
    optimiser = torch.optim.AdamW(student.parameters(), lr=trial.training.learning_rate)
    steps = itertools.count(1)
    for _ in range(epochs):
        for rows, pixels in loader:
            pixels, targets = pixels.to(device), torch.from_numpy(split.targets[rows]).float().to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                outputs = student(pixels)
                with torch.no_grad():
                    known = teacher(pixels)
            loss = direct.total(outputs.each(torch.Tensor.float), known.each(torch.Tensor.float), targets)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            loss.item()
            clock("steps", next(steps), epochs * len(loader))


def computing(clock: Clock) -> str:
    """Share of the profiled time in which a kernel runs; copies do not count."""
    if clock.profiler is None:
        return "-"
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "trace.json"
        clock.profiler.export_chrome_trace(str(file))
        events = json.loads(file.read_text(encoding="utf-8"))["traceEvents"]
    kernels = [(event["ts"], event["ts"] + event["dur"]) for event in events if event.get("cat") == "kernel"]
    return f"{covered(kernels) / 1e6 / clock.profiled_s:.0%}"


def covered(intervals: Iterable[tuple[float, float]]) -> float:
    """Length of the union of intervals (start, end)."""
    length, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        length += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return length


if __name__ == "__main__":
    main()
