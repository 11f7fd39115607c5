"""Everything of a training run that changes from step to step, as one file that the next step can go on from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timm.utils import ModelEmaV3
from torch import Tensor
from torch.optim import Optimizer

from mlkd.models import checkpoint
from mlkd.training import optim
from mlkd.training.distillation_module import Learner
from mlkd.training.loss_step import Lesson


@dataclass(frozen=True)
class RunState:
    """The parts; `scaler` is fp16's gradient scaler, None in other precisions.

    Nothing random is among them: order, views and dropout are functions of (seed, step).
    """

    learner: Learner
    ema: ModelEmaV3
    adam: Optimizer
    lesson: Lesson
    scaler: Any

    def write(self, path: Path, facts: Mapping[str, Any]) -> None:
        """The file, whole or absent; `facts` go along as JSON."""
        parts: dict[str, Mapping[str, Tensor]] = {
            "model": self.learner.state_dict(),
            "ema": self.ema.module.state_dict(),
            "optimiser": optim.optimiser_tensors(self.adam),
            "recent": self.lesson.kept(),
        }
        tensors = {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}
        checkpoint.write(path, tensors, {**facts, "scaler": self.scaler.state_dict() if self.scaler else None})

    def read(self, path: Path) -> dict[str, Any]:
        """Take up what `write` left; its facts.  Raises ValueError for a missing or damaged file."""
        tensors, facts = checkpoint.read(path)
        self.learner.load_state_dict(checkpoint.part(tensors, "model."))
        self.ema.module.load_state_dict(checkpoint.part(tensors, "ema."))
        optim.restore_optimiser(self.adam, checkpoint.part(tensors, "optimiser."))
        self.lesson.restore(checkpoint.part(tensors, "recent."))
        if facts["scaler"]:
            self.scaler.load_state_dict(facts["scaler"])
        return facts
