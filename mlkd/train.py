"""The training loop of teacher, student and baseline, top to bottom."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from timm.utils import ModelEmaV3
from torch import Tensor
from torch.optim import AdamW
from torch.utils.data import DataLoader, Dataset

from mlkd import checkpoint, evaluate, optimisation
from mlkd.data.prepared import Split, read_split
from mlkd.losses import Bce, Loss, Outputs
from mlkd.metrics import mean_average_precision
from mlkd.models import Model
from mlkd.progress import Progress, silent
from mlkd.teacher_outputs import TeacherOutputs
from mlkd.views import Views

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a tagger is trained."""

    epochs: int
    learning_rate: float
    losses: tuple[Loss, ...] = field(default_factory=lambda: (Bce(),))
    batch_size: int = 64
    backbone_scale: float = 1.0  # the backbone's learning rate over the head's
    frozen_groups: int = 0  # stages of the backbone that keep their first weights, the stem first
    weight_decay: float = 0.01
    warmup: float = 0.2  # share of all steps
    ema_decay: float = 0.99
    gradient_norm: float = 10.0

    def __post_init__(self) -> None:
        limits = {
            "epochs": (1, 10_000), "learning_rate": (1e-8, 10), "batch_size": (2, 65_536), "backbone_scale": (0, 100),
            "frozen_groups": (0, 1000), "weight_decay": (0, 10), "warmup": (0, 1), "ema_decay": (0, 1),
            "gradient_norm": (1e-6, 1e9),
        }  # fmt: skip
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"training.{name}: expected {low}..{high}, got {getattr(self, name)}")
        if not self.losses:
            raise ValueError("training.losses: expected at least one loss, got none; bce is the usual one")

    @property
    def needs_teacher(self) -> bool:
        """True if any loss compares with a teacher."""
        return any(not isinstance(loss, Bce) for loss in self.losses)


class NonFiniteLoss(RuntimeError):  # noqa: N818  (named for what happened)
    """A loss turned nan or infinite; the message names step, term and pictures."""


def train(
    model: Model,
    training: Training,
    views: Views,
    data: Path,
    out: Path,
    *,
    seed: int,
    teacher_outputs: Path | None = None,
    progress: Progress = silent,
) -> None:
    """Train until the last epoch, going on from what `out` holds; writes best and last checkpoint and history.json.

    The best epoch is chosen on the split *select*.  On one machine with equal threads and versions the final weights
    are equal bit for bit, however often the run was interrupted.
    Raises ValueError when a loss needs a teacher and there is none, NonFiniteLoss when training diverges.
    """
    if training.needs_teacher and teacher_outputs is None:
        raise ValueError("training.losses: expected only bce without a teacher, got a loss that needs teacher outputs")
    run = _Run(model, training, views, data, out, seed, teacher_outputs, progress)
    run.resume()
    while run.epoch < training.epochs:
        run.train_epoch()
        run.finish_epoch()


class _Run:
    """State of one training run; everything random is a function of (seed, epoch or step)."""

    def __init__(
        self,
        model: Model,
        training: Training,
        views: Views,
        data: Path,
        out: Path,
        seed: int,
        teacher_outputs: Path | None,
        progress: Progress,
    ) -> None:
        self.config, self.training, self.out, self.seed, self.progress = model, training, out, seed, progress
        self.split, self.select = read_split(data, "train"), read_split(data, "select")
        self.teacher = TeacherOutputs.read(teacher_outputs, self.split) if teacher_outputs else None
        self.views, self.view_seed = (self.teacher.views, self.teacher.seed) if self.teacher else (views, seed)
        self.accelerator = Accelerator(
            mixed_precision="bf16" if torch.cuda.is_available() else "no", log_with="tensorboard", project_dir=str(out)
        )
        torch.manual_seed(seed)
        self.tagger = model.build(len(self.split.labels)).to(self.accelerator.device)
        optimisation.freeze(self.tagger, training.frozen_groups)
        self.adam: AdamW = optimisation.optimiser(
            self.tagger, training.learning_rate, training.backbone_scale, training.weight_decay
        )
        self.ema = ModelEmaV3(self.tagger, decay=training.ema_decay, use_warmup=True)
        self.epoch, self.step, self.best = 0, 0, -1.0
        self.steps_per_epoch = max(1, len(self.split) // training.batch_size)
        self.accelerator.init_trackers("tensorboard")

    def resume(self) -> None:
        path = self.out / checkpoint.LAST
        if not path.is_file():
            return
        tensors, facts = checkpoint.read(path)
        self.tagger.load_state_dict(_part(tensors, "model."))
        self.ema.module.load_state_dict(_part(tensors, "ema."))
        optimisation.restore_optimiser(self.adam, _part(tensors, "optimiser."))
        self.epoch, self.step, self.best = facts["epoch"], facts["step"], facts["best"]
        log.info("going on after epoch %d of %d", self.epoch, self.training.epochs)

    def train_epoch(self) -> None:
        self.tagger.train()
        sums: dict[str, float] = {}
        self.started = time.monotonic()
        for done, (indices, images, targets) in enumerate(self._batches(), start=1):
            terms = self._step(indices, images, targets)
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value
            self.losses = {name: value / done for name, value in sums.items()}
            pictures = done * self.training.batch_size / (time.monotonic() - self.started)
            at = self.epoch * self.steps_per_epoch + done
            self.progress(
                "epochs", at, self.training.epochs * self.steps_per_epoch, {**self.losses, "images/s": pictures}
            )

    def _batches(self) -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.split))
        size = min(self.training.batch_size, len(order))
        batches = [order[i * size : (i + 1) * size].tolist() for i in range(self.steps_per_epoch)]
        pictures = _Pictures(self.split, self.config.image_px, self.views, self.view_seed, self._view())
        workers = 8 if self.accelerator.device.type == "cuda" else 1  # many threads slow a small picture down
        for indices, images, targets in DataLoader(pictures, batch_sampler=batches, num_workers=workers):
            device = self.accelerator.device
            yield indices.numpy(), images.to(device), targets.to(device)

    def _view(self) -> int:
        return self.epoch % self.views.count

    def _step(self, indices: NDArray[np.int64], images: Tensor, targets: Tensor) -> dict[str, float]:
        torch.manual_seed(self.seed * 1_000_003 + self.step)  # dropout is a function of the step
        share = optimisation.one_cycle(self.step, self.training.epochs * self.steps_per_epoch, self.training.warmup)
        for group in self.adam.param_groups:
            group["lr"] = group["peak"] * share
        with self.accelerator.autocast():
            student = self.tagger(images)
        terms = self._terms(student, self._teacher_batch(indices, student), targets)
        self._refuse_non_finite(terms, indices)
        self.accelerator.backward(sum(terms.values()))
        self.accelerator.clip_grad_norm_(self.tagger.parameters(), self.training.gradient_norm)
        self.adam.step()
        self.adam.zero_grad()
        self.step += 1
        self.ema.update(self.tagger, self.step)
        return {name: float(value.detach()) for name, value in terms.items()}

    def _teacher_batch(self, indices: NDArray[np.int64], student: Outputs) -> Outputs:
        if self.teacher is None:
            return student  # no loss that looks at it: `train` has checked
        batch = self.teacher.batch(indices, self._view())
        device, embeddings = self.accelerator.device, batch.embeddings
        return Outputs(batch.logits.to(device), None if embeddings is None else embeddings.to(device))

    def _terms(self, student: Outputs, teacher: Outputs, targets: Tensor) -> dict[str, Tensor]:
        done = self.step / self.steps_per_epoch
        wide = Outputs(student.logits.float(), None if student.embeddings is None else student.embeddings.float())
        return {
            loss.kind: loss.weight * (min(1.0, done / loss.ramp_epochs) if loss.ramp_epochs else 1.0)
            * loss(wide, teacher, targets)
            for loss in self.training.losses if loss.weight
        }  # fmt: skip

    def _refuse_non_finite(self, terms: Mapping[str, Tensor], indices: NDArray[np.int64]) -> None:
        bad = [name for name, value in terms.items() if not torch.isfinite(value)]
        if bad:
            names = ", ".join(self.split.names[i] for i in indices[:8])
            raise NonFiniteLoss(
                f"training step {self.step}: expected finite losses, got {bad} not finite on pictures {names}, …; "
                "lower the learning rate or that loss's weight; the last epoch is saved"
            )

    def finish_epoch(self) -> None:
        self.epoch += 1
        scores = evaluate.scores(self.ema.module, self.select.pixels(self.config.image_px))
        select_map = mean_average_precision(scores, self.select.targets)
        self.accelerator.log({**self.losses, "select_map": select_map}, step=self.step)
        self._record(select_map)
        if select_map > self.best:
            self.best = select_map
            facts = {"epoch": self.epoch, "select_map": select_map}
            ema = self.ema.module.state_dict()
            checkpoint.save_model(self.out / checkpoint.BEST, ema, self.config, self.split.labels, facts)
        tensors = {f"model.{k}": v for k, v in self.tagger.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.module.state_dict().items()}
        tensors |= {f"optimiser.{k}": v for k, v in optimisation.optimiser_tensors(self.adam).items()}
        checkpoint.write(
            self.out / checkpoint.LAST, tensors, {"epoch": self.epoch, "step": self.step, "best": self.best}
        )

    def _record(self, select_map: float) -> None:
        path = self.out / "history.json"
        history: list[dict[str, Any]] = json.loads(path.read_text()) if path.is_file() else []
        seconds = round(time.monotonic() - self.started, 1)
        entry = {"epoch": self.epoch, "losses": self.losses, "select_map": select_map, "seconds": seconds}
        path.with_suffix(".partial").write_text(json.dumps([*history[: self.epoch - 1], entry], indent=1) + "\n")
        path.with_suffix(".partial").replace(path)
        log.info(
            "epoch %d of %d: select mAP %.2f (%.0f s)", self.epoch, self.training.epochs, 100 * select_map, seconds
        )


class _Pictures(Dataset[tuple[int, Tensor, Tensor]]):
    """One view of every training picture."""

    def __init__(self, split: Split, image_px: int, views: Views, seed: int, view: int) -> None:
        self.pixels, self.targets = split.pixels(image_px), split.targets.astype(np.float32)
        self.views, self.seed, self.view = views, seed, view

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, picture: int) -> tuple[int, Tensor, Tensor]:
        image = self.views.apply(self.pixels[picture], seed=self.seed, picture=picture, view=self.view)
        return picture, image, torch.from_numpy(self.targets[picture])


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
