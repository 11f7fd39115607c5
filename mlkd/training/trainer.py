"""The training loop of teacher, student and baseline."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from numpy.typing import NDArray
from timm.utils import ModelEmaV3
from torch import Tensor

from mlkd.core.metrics import mean_average_precision
from mlkd.core.progress import Progress, silent
from mlkd.data.augment import Views
from mlkd.data.loader import Batch, read_ahead, to_device
from mlkd.data.prepared import read_split
from mlkd.models import checkpoint, frozen
from mlkd.models.config import Model
from mlkd.models.feature_cache import open_cache
from mlkd.models.weight_check import check_weights, evenly_spread
from mlkd.training import evaluate, history, optim
from mlkd.training.accelerator import create_accelerator, wrap
from mlkd.training.batches import create_loader
from mlkd.training.config import Training
from mlkd.training.distillation_module import DistillationModule
from mlkd.training.divergence import DIVERGED, NonFiniteLossError, diverged, non_finite
from mlkd.training.loss_step import LossComputer
from mlkd.training.run_state import RunState

log = logging.getLogger(__name__)
TRACK_STEPS = 20  # steps between two points of a tracked curve


def train(
    model: Model,
    training: Training,
    views: Views,
    data: Path,
    out: Path,
    *,
    seed: int,
    teacher_outputs: Path | None = None,
    teacher: Path | None = None,
    features: Path | None = None,
    progress: Progress = silent,
) -> None:
    """Train until the last epoch, or resume a run in `out`; writes best and last checkpoint and history.json.

    The best epoch is chosen on the split *select*.  On a CPU with equal threads and versions, a resumed run ends with
    the same weights, bit for bit, as an uninterrupted one.  Under accelerate's launcher or torchrun each process calls
    this function and takes its part of each batch.

    Args:
        views: Augmentations; replaced by those of `teacher_outputs` where given.
        data: Folder of a prepared set.
        out: An existing folder, empty or of an interrupted run.
        seed: Of the initial weights, the order of images, augmentation and dropout.
        teacher_outputs: Folder that `teachers.record.record` wrote.
        teacher: Folder of a trained model, used only by losses on stage maps.
        features: Folder of the features of frozen layers, shared by all trainings on `data`; without it they are
            computed in every step.

    Raises:
        ValueError: A loss needs an output that the teacher does not have.
        NonFiniteLossError: The training diverged.
        DeadWorkerError: A process that prepares images died.
    """
    run = TrainingRun(model, training, views, data, out, seed, teacher_outputs, teacher, features, progress)
    run.resume()
    while not run.finished:
        run.train_epoch()
        run.finish_epoch()
    for tracker in run.accelerator.trackers:  # `end_training` would end the process group, which the next stage needs
        tracker.finish()


class TrainingRun:
    """One training run; all random numbers are functions of (seed, step), so that `step` is enough to resume."""

    def __init__(
        self,
        model: Model,
        training: Training,
        views: Views,
        data: Path,
        out: Path,
        seed: int,
        teacher_outputs: Path | None,
        teacher: Path | None,
        features: Path | None,
        progress: Progress,
    ) -> None:
        self.model, self.training, self.out, self.seed, self.progress = model, training, out, seed, progress
        self.accelerator = create_accelerator(training, out)
        self.device = self.accelerator.device
        split, self.select = read_split(data, "train"), read_split(data, "select")
        self.losses = LossComputer(split, training, teacher_outputs, teacher, self.device)
        torch.manual_seed(seed)
        self.tagger = model.build_for(split.labels).to(self.device)
        if not (out / checkpoint.LAST).is_file():
            check_weights(self.tagger, model, split.pixels_of(model.image_px, evenly_spread(len(split))))
        frozen.freeze(self.tagger, training.frozen_groups)
        outputs = self.losses.teacher_outputs
        views, view_seed = (outputs.views, outputs.seed) if outputs else (views, seed)
        self.features = open_cache(self.tagger, split, views, view_seed, features) if features else None
        own_px, teacher_net = [] if self.features else [model.image_px], self.losses.teacher
        sizes = [*own_px, *([teacher_net.image_px] if teacher_net else [])]
        size, ranks = training.batch_size, self.accelerator
        self.loader = create_loader(self.losses.split, sizes, views, view_seed, seed=seed, batch_size=size, ranks=ranks)
        self.steps_per_epoch = self.loader.steps_per_epoch(training.accumulate)
        cut = self.features.cut if self.features else None
        self.module = DistillationModule(self.tagger, training, self.losses.teacher_shapes, cut).to(self.device)
        self.optimiser = self.accelerator.prepare(optim.optimiser(self.tagger, self.module.adapters, training))
        self.wrapped = wrap(self.module, self.accelerator, compiled=training.compile)
        self.ema = ModelEmaV3(self.tagger, decay=training.ema_decay, use_warmup=True)
        parts = self.module, self.ema, self.optimiser.optimizer, self.losses.memory_bank, self.accelerator.scaler
        self.state = RunState(*parts)
        self.step, self.best, self.best_epoch = 0, -1.0, 0
        self.totals = history.EpochTotals()

    @property
    def epoch(self) -> int:
        """Number of completed epochs."""
        return self.step // self.steps_per_epoch

    @property
    def finished(self) -> bool:
        """Whether the last epoch is done, or `patience` epochs brought no better mAP."""
        stalled = 0 < self.training.patience <= self.epoch - self.best_epoch
        return self.epoch >= self.training.last_epoch or stalled

    def train_epoch(self) -> None:
        """Run the remaining steps of the current epoch."""
        self.wrapped.train()
        epoch, accumulate = self.epoch, self.training.accumulate
        batches = self.batches(epoch, first=self.totals.steps * accumulate)
        began = time.monotonic() - self.totals.seconds
        for _ in range(self.totals.steps, self.steps_per_epoch):
            self.totals.add(self._step(epoch, batches))
            self.totals.seconds = time.monotonic() - began
            self._report_progress()
            if self.step % self.training.save_steps == 0 and self.totals.steps < self.steps_per_epoch:
                self.save()

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, with the features of frozen layers in place of the student's images."""
        batches = self.loader.batches(epoch, first)
        if self.features is None:
            return batches
        with self.accelerator.main_process_first():
            features = self.features.view(self.loader.view(epoch), self.progress)
        return read_ahead((rows, (torch.from_numpy(features[rows]), *images)) for rows, images in batches)

    def _step(self, epoch: int, batches: Iterator[Batch]) -> dict[str, float]:
        training, count = self.training, self.training.accumulate
        optim.set_learning_rate(self.optimiser, training, self.step, training.epochs * self.steps_per_epoch)
        step_terms: dict[str, float] = {}
        for part in range(count):
            rows, images = next(batches)
            seeds = np.random.SeedSequence([self.seed, self.step, part, self.loader.rank])  # of dropout
            torch.manual_seed(int(seeds.generate_state(1, np.uint64)[0]))
            last = part == count - 1  # processes exchange gradients only then
            with nullcontext() if last else self.accelerator.no_sync(self.wrapped):
                terms = self.terms(epoch, rows, images)
                for name, value in self._finite_means(terms, rows).items():
                    step_terms[name] = step_terms.get(name, 0.0) + value / count
                self.accelerator.backward(sum(terms.values()) / count)
        norm = self.accelerator.clip_grad_norm_(self.module.parameters(), training.gradient_norm)
        if self.accelerator.scaler is None and not torch.isfinite(norm):  # a scaler skips such a step itself
            raise self._diverged("gradients, got nan or infinite ones", rows)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.step += 1
        self.ema.update(self.tagger, self.step)
        return step_terms

    def terms(self, epoch: int, rows: NDArray[np.int64], images: tuple[Tensor, ...]) -> dict[str, Tensor]:
        on_device = [to_device(batch, self.device) for batch in images]
        with self.accelerator.autocast():
            student = self.wrapped(on_device[0])
        view, epochs = self.loader.view(epoch), self.step / self.steps_per_epoch
        return self.losses.compute_terms(student, rows, on_device, view=view, epochs=epochs)

    def _finite_means(self, terms: Mapping[str, Tensor], rows: NDArray[np.int64]) -> dict[str, float]:
        """The terms averaged over processes.  Raises NonFiniteLossError if one is nan or infinite."""
        reduced: Any = self.accelerator.reduce(torch.stack([v.detach() for v in terms.values()]), reduction="mean")
        means = dict(zip(terms, reduced.tolist(), strict=True))
        if bad := non_finite(means):
            here = rows if non_finite({name: value.item() for name, value in terms.items()}) else rows[:0]
            raise self._diverged(f"losses, got {bad} not finite", here)
        return means

    def _diverged(self, what: str, rows: NDArray[np.int64]) -> NonFiniteLossError:
        """The error, after saving the state for inspection; the last regular checkpoint is not touched."""
        self.save(DIVERGED)
        return diverged(self.step, what, [self.losses.split.names[row] for row in rows], self.out / DIVERGED)

    def _report_progress(self) -> None:
        training = self.training
        speed = self.totals.steps * training.accumulate * training.batch_size / max(self.totals.seconds, 1e-9)
        facts = {**self.totals.means(), "images/s": speed}
        self.progress("steps", self.step, training.last_epoch * self.steps_per_epoch, facts)
        if self.step % TRACK_STEPS == 0:
            self.accelerator.log({**facts, "learning_rate": self.optimiser.param_groups[-1]["lr"]}, step=self.step)

    def finish_epoch(self) -> None:
        """Measure mAP on select, record it, save the checkpoints; the first process does so and tells the others."""
        measured, seconds = [0.0], self.totals.seconds
        if self.accelerator.is_main_process:
            scores = evaluate.scores(self.ema.module, self.select.pixels(self.model.image_px))
            measured = [mean_average_precision(scores, self.select.targets, self.select.label_mask)]
            facts = {"losses": self.totals.means(), "select_map": measured[0], "seconds": round(seconds, 1)}
            history.write_epoch(self.out, self.epoch, facts)
            self.accelerator.log({"select_map": measured[0]}, step=self.step)
            done = f"epoch {self.epoch} of {self.training.last_epoch}"
            log.info("%s: select mAP %.2f (%.0f s)", done, 100 * measured[0], seconds)
        select_map = float(broadcast_object_list(measured)[0])
        self.totals = history.EpochTotals()
        if select_map > self.best:
            self.best, self.best_epoch = select_map, self.epoch
            if self.accelerator.is_main_process:
                facts = {"epoch": self.epoch, "select_map": select_map}
                weights, labels = self.ema.module.state_dict(), self.select.labels
                checkpoint.save_model(self.out / checkpoint.BEST, weights, self.model, labels, facts)
        self.save()

    def save(self, name: str = checkpoint.LAST) -> None:
        """Write the state that the next step depends on; only the first process writes."""
        if self.accelerator.is_main_process:
            facts = {"step": self.step, "best": self.best, "best_epoch": self.best_epoch, "now": asdict(self.totals)}
            facts |= {"threads": torch.get_num_threads(), "history": history.digests(self.out)}
            self.state.write(self.out / name, facts)

    def resume(self) -> None:
        """Restore the last checkpoint, if there is one, and the number of threads, on which the last bits depend."""
        if facts := self.state.read(self.out):
            self.step, self.best, self.best_epoch = facts["step"], facts["best"], facts["best_epoch"]
            self.totals = history.EpochTotals(**facts["now"])
            torch.set_num_threads(facts.get("threads", torch.get_num_threads()))
            log.info("resuming after step %d of %d", self.step, self.training.last_epoch * self.steps_per_epoch)
