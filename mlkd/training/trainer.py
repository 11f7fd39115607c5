"""The training loop of teacher, student and baseline, top to bottom."""

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
from torch import Tensor, nn

from mlkd.core.metrics import mean_average_precision
from mlkd.core.progress import Progress, silent
from mlkd.data.augment import Views
from mlkd.data.loader import Batch, Loader, workers
from mlkd.data.prepared import read_split
from mlkd.models import checkpoint
from mlkd.models.network import Model
from mlkd.models.weight_check import check_weights
from mlkd.training import evaluate, history, optim
from mlkd.training.accelerator import accelerator
from mlkd.training.checkpoint import RunState
from mlkd.training.config import Training
from mlkd.training.distillation_module import Learner
from mlkd.training.loss_step import Lesson

log = logging.getLogger(__name__)

DIVERGED = "diverged.safetensors"
TRACK_STEPS = 20  # between two points of a tracker's curve


class NonFiniteLossError(RuntimeError):
    """A loss turned nan or infinite; the message names step, term and images."""


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
    progress: Progress = silent,
) -> None:
    """Train until the last epoch, going on from what `out` holds; writes best and last checkpoint and history.json.

    `teacher_outputs` are those of teacher_outputs.record; `teacher`, the folder of a trained net, is used only by
    losses on stage maps.  The best epoch is chosen on the split *select*.  With equal threads and versions on a CPU the
    final weights are equal bit for bit, whatever step the run was killed at.  Under accelerate's launcher or torchrun
    every process calls this and takes its part of each batch.
    Raises ValueError when a loss needs what the teacher has not, NonFiniteLossError when training diverges, and
    loader.DeadWorkerError when a process that prepares images dies.
    """
    run = _Run(model, training, views, data, out, seed, teacher_outputs, teacher, progress)
    run.resume()
    while not run.finished:
        run.train_epoch()
        run.finish_epoch()
    for tracker in run.accelerator.trackers:  # `end_training` would part the processes, which the next stage needs
        tracker.finish()


class _Run:
    """State of one training run; what is random is a function of (seed, step), so that `step` says where it stands."""

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
        progress: Progress,
    ) -> None:
        self.model, self.training, self.out, self.seed, self.progress = model, training, out, seed, progress
        self.accelerator = accelerator(training, out)
        self.device, self.ranks = self.accelerator.device, self.accelerator.num_processes
        split, self.select = read_split(data, "train"), read_split(data, "select")
        self.lesson = Lesson(split, training, teacher_outputs, teacher, self.device)
        self.loader = self._loader(views)
        self.steps_per_epoch = self.loader.steps_per_epoch(training.accumulate)
        torch.manual_seed(seed)
        self.tagger = model.build(len(split.labels)).to(self.device)
        if not (out / checkpoint.LAST).is_file():
            check_weights(self.tagger, model, split.pixels(model.image_px))
        optim.freeze(self.tagger, training.frozen_groups)
        self.learner = Learner(self.tagger, training, self.lesson.live).to(self.device)
        self.adam = self.accelerator.prepare(optim.optimiser(self.tagger, self.learner.adapters, training))
        self.net: nn.Module = self.learner
        if training.compile:
            self.net = torch.compile(self.learner)  # type: ignore[assignment]
        if self.ranks > 1:
            self.net = self.accelerator.prepare(self.net)
        self.ema = ModelEmaV3(self.tagger, decay=training.ema_decay, use_warmup=True)
        self.state = RunState(self.learner, self.ema, self.adam.optimizer, self.lesson, self.accelerator.scaler)
        self.step, self.best, self.best_epoch = 0, -1.0, 0
        self.now = history.Epoch()

    def _loader(self, views: Views) -> Loader:
        live, cached = self.lesson.live, self.lesson.cached
        return Loader(
            split=self.lesson.split,
            sizes=(self.model.image_px,) if live is None else (self.model.image_px, live.image_px),
            views=cached.views if cached else views,
            view_seed=cached.seed if cached else self.seed,
            seed=self.seed,
            batch_size=self.training.batch_size,
            rank=self.accelerator.process_index,
            ranks=self.ranks,
            workers=workers(cuda=self.device.type == "cuda", ranks=self.ranks),
        )

    @property
    def epoch(self) -> int:
        """Epochs that are over."""
        return self.step // self.steps_per_epoch

    @property
    def finished(self) -> bool:
        """After the last epoch, or `patience` of them without a better one."""
        patience = self.training.patience
        tired = patience > 0 and self.epoch - self.best_epoch >= patience
        return self.epoch >= self.training.last_epoch or tired

    def train_epoch(self) -> None:
        """The steps that this epoch has left."""
        self.net.train()
        began = time.monotonic() - self.now.seconds
        epoch, accumulate = self.epoch, self.training.accumulate
        batches = self.loader.batches(epoch, first=self.now.steps * accumulate)
        for _ in range(self.now.steps, self.steps_per_epoch):
            self.now.add(self._step(epoch, batches))
            self.now.seconds = time.monotonic() - began
            self._tell()
            if self.step % self.training.save_steps == 0 and self.now.steps < self.steps_per_epoch:
                self.save()

    def _step(self, epoch: int, batches: Iterator[Batch]) -> dict[str, float]:
        training, count = self.training, self.training.accumulate
        steps = training.epochs * self.steps_per_epoch
        share = optim.share_of_peak(training.schedule, self.step, steps, training.warmup)
        for group in self.adam.param_groups:
            group["lr"] = group["peak"] * share
        told: dict[str, float] = {}
        for part in range(count):
            rows, images = next(batches)
            seeds = np.random.SeedSequence([self.seed, self.step, part, self.loader.rank])  # of dropout
            torch.manual_seed(int(seeds.generate_state(1, np.uint64)[0]))
            last = part == count - 1  # only then processes exchange gradients
            with nullcontext() if last else self.accelerator.no_sync(self.net):
                terms = self._terms(epoch, rows, images)
                for name, value in self._finite(terms, rows).items():
                    told[name] = told.get(name, 0.0) + value / count
                self.accelerator.backward(sum(terms.values()) / count)
        norm = self.accelerator.clip_grad_norm_(self.learner.parameters(), training.gradient_norm)
        if self.accelerator.scaler is None and not torch.isfinite(norm):  # a scaler leaves such a step out by itself
            raise self._diverged("gradients, got others", rows)
        self.adam.step()
        self.adam.zero_grad()
        self.step += 1
        self.ema.update(self.tagger, self.step)
        return told

    def _terms(self, epoch: int, rows: NDArray[np.int64], images: tuple[Tensor, ...]) -> dict[str, Tensor]:
        placed = [image.to(self.device) for image in images]
        with self.accelerator.autocast():
            student = self.net(placed[0])
        view, epochs = self.loader.view(epoch), self.step / self.steps_per_epoch
        return self.lesson.terms(student, rows, placed, view=view, epochs=epochs)

    def _finite(self, terms: Mapping[str, Tensor], rows: NDArray[np.int64]) -> dict[str, float]:
        """The terms averaged over processes.  Raises NonFiniteLossError if one is no number."""
        everywhere: Any = self.accelerator.reduce(torch.stack([v.detach() for v in terms.values()]), reduction="mean")
        told = dict(zip(terms, everywhere.tolist(), strict=True))
        bad = [name for name, value in told.items() if not np.isfinite(value)]
        if bad:
            here = any(not torch.isfinite(value) for value in terms.values())
            raise self._diverged(f"losses, got {bad} not finite", rows if here else None)
        return told

    def _diverged(self, what: str, rows: NDArray[np.int64] | None) -> NonFiniteLossError:
        """The error, after saving what there is to look at; the last regular state stays as it was."""
        self.save(DIVERGED)
        names = [self.lesson.split.names[row] for row in ([] if rows is None else rows)]
        log.error("images of the step that diverged: %s", ", ".join(names) or "of another process")
        shown = f"on images {', '.join(names[:8])}, …" if names else "in another process"
        return NonFiniteLossError(
            f"training step {self.step}: expected finite {what} {shown}; lower the learning rate or that loss's "
            f"weight; the nets as they are now lie in {self.out / DIVERGED}"
        )

    def _tell(self) -> None:
        losses, training = self.now.means(), self.training
        speed = self.now.steps * training.accumulate * training.batch_size / max(self.now.seconds, 1e-9)
        self.progress("epochs", self.step, training.last_epoch * self.steps_per_epoch, {**losses, "images/s": speed})
        if self.step % TRACK_STEPS == 0:
            rate = self.adam.param_groups[-1]["lr"]
            self.accelerator.log({**losses, "images/s": speed, "learning_rate": rate}, step=self.step)

    def finish_epoch(self) -> None:
        """Measure on select, record, keep the best, save: the first process does, all learn the outcome."""
        outcome = [0.0]
        if self.accelerator.is_main_process:
            scores = evaluate.scores(self.ema.module, self.select.pixels(self.model.image_px))
            outcome = [mean_average_precision(scores, self.select.targets, self.select.label_mask)]
            facts = {"losses": self.now.means(), "select_map": outcome[0], "seconds": round(self.now.seconds, 1)}
            history.record(self.out, self.epoch, facts)
            self.accelerator.log({"select_map": outcome[0]}, step=self.step)
            done = f"epoch {self.epoch} of {self.training.last_epoch}"
            log.info("%s: select mAP %.2f (%.0f s)", done, 100 * outcome[0], self.now.seconds)
        select_map = float(broadcast_object_list(outcome)[0])
        self.now = history.Epoch()
        if select_map > self.best:
            self.best, self.best_epoch = select_map, self.epoch
            if self.accelerator.is_main_process:
                facts = {"epoch": self.epoch, "select_map": select_map}
                weights, labels = self.ema.module.state_dict(), self.select.labels
                checkpoint.save_model(self.out / checkpoint.BEST, weights, self.model, labels, facts)
        self.save()

    def save(self, name: str = checkpoint.LAST) -> None:
        """All that the next step depends on; written by the first process."""
        if self.accelerator.is_main_process:
            facts = {"step": self.step, "best": self.best, "best_epoch": self.best_epoch, "now": asdict(self.now)}
            self.state.write(self.out / name, facts)

    def resume(self) -> None:
        """Take up what `save` wrote, if there is any."""
        if (self.out / checkpoint.LAST).is_file():
            facts = self.state.read(self.out / checkpoint.LAST)
            self.step, self.best, self.best_epoch = facts["step"], facts["best"], facts["best_epoch"]
            self.now = history.Epoch(**facts["now"])
            log.info("going on after step %d of %d", self.step, self.training.last_epoch * self.steps_per_epoch)
