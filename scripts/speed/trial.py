"""A training on random images, to time its steps: the prepared set, a teacher with stored outputs, and the clock."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch.profiler import profile

from mlkd.core.labels import Labels
from mlkd.data.augment import Views
from mlkd.models import checkpoint, frozen
from mlkd.models.config import Model
from mlkd.teachers import CheckpointTeacher
from mlkd.teachers.record import record
from mlkd.training.config import Training
from mlkd.training.trainer import train

POSITIVES = 3  # of each image


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Images, models and training of one student; all files are in `folder`, which exists and is empty at first."""

    folder: Path
    images: int
    labels: int
    student: Model
    teacher: Model
    training: Training
    outputs: Path  # of the teacher
    views: Views = field(default_factory=lambda: Views(count=1))

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def teacher_folder(self) -> Path:
        return self.folder / "teacher"

    def write_set(self) -> None:
        """Write splits with random pixels and POSITIVES labels an image, as the data stage does."""
        rng = np.random.default_rng(0)
        self.data.mkdir()
        names = tuple(f"label {number}" for number in range(self.labels))
        Labels(names).write(self.data / "labels.json")
        for split, count in (("train", self.images), ("select", 2 * self.labels)):
            for px in {self.student.image_px, self.teacher.image_px}:
                pixels = rng.integers(0, 256, (count, px, px, 3), dtype=np.uint8)
                np.save(self.data / f"{split}.{px}.npy", pixels)
            targets = rng.random((count, self.labels)).argsort(1) < POSITIVES
            np.save(self.data / f"{split}.targets.npy", targets.astype(np.uint8))
            ids = [f"{split}{number}" for number in range(count)]
            lists: dict[str, list[object]] = {"boxes": [[]] * count, "shared": [[]] * count}
            tree = lists | dict.fromkeys(("names", "files", "groups", "sha256"), ids)
            (self.data / f"{split}.json").write_text(json.dumps(tree), encoding="utf-8")

    def write_teacher(self) -> None:
        """Save a teacher with random weights."""
        self.teacher_folder.mkdir()
        names = tuple(f"label {number}" for number in range(self.labels))
        weights = self.teacher.build(self.labels).state_dict()
        checkpoint.save_model(self.teacher_folder / checkpoint.BEST, weights, self.teacher, Labels(names), {})

    def record(self) -> None:
        """Store the outputs of the teacher for every view, with the stage maps that the losses compare."""
        self.outputs.mkdir()
        student = self.student.build(self.labels)
        frozen.freeze(student, self.training.frozen_groups)
        maps = len(student.stage_shapes(trainable=True)) if "features" in self.training.needs else 0
        teachers = [CheckpointTeacher(path=self.teacher_folder)]
        record(teachers, self.data, self.views, self.outputs, seed=0, maps=maps)

    def steps(self, name: str, clock: Clock, *, cached: bool = True, **changes: object) -> None:
        """Train a student from its start, as the pipeline does, with `changes` of the training.

        With `cached`, what frozen layers give is read from the disk.
        """
        out = self.folder / name
        out.mkdir()
        training = replace(self.training, **changes)  # type: ignore[arg-type]
        train(
            self.student,
            training,
            self.views,
            self.data,
            out,
            seed=0,
            teacher_outputs=self.outputs if training.needs_teacher else None,
            teacher=self.teacher_folder if training.needs_teacher else None,
            features=self.folder / "features" if cached else None,
            progress=clock,
        )


class Clock:
    """The progress of a training of several epochs: the time of each step after the first epoch.

    A `profiler` records the last epoch, which is then not timed.
    """

    def __init__(self, epochs: int, profiler: profile | None = None) -> None:
        self.epochs, self.profiler = epochs, profiler
        self.seconds: list[float] = []
        self.profiled_s = 0.0
        self._before = 0.0

    def __call__(self, what: str, done: int, total: int, _: Mapping[str, float] | None = None, /) -> None:
        """Take the time of step `done` of `total`, but not of the first one of an epoch, which waits for more."""
        if what != "steps":
            return
        per_epoch = total // self.epochs
        epoch, step = divmod(done - 1, per_epoch)
        if self.profiler and epoch == self.epochs - 1:
            self._profile(self.profiler, step, per_epoch)
            return
        now = time.perf_counter()
        if epoch and step:
            self.seconds.append(now - self._before)
        self._before = now

    def _profile(self, profiler: profile, step: int, steps: int) -> None:
        if step == 0:
            profiler.start()
            self._before = time.perf_counter()
        if step == steps - 1:
            torch.cuda.synchronize()
            self.profiled_s = time.perf_counter() - self._before
            profiler.stop()

    def images_per_s(self, batch: int) -> float:
        return batch / float(np.mean(self.seconds))
