"""The state of a training run that changes from step to step, as one file to resume from."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timm.utils import ModelEmaV3
from torch import Tensor
from torch.optim import Optimizer

from mlkd.models import checkpoint
from mlkd.training import history, optim
from mlkd.training.distillation_module import DistillationModule
from mlkd.training.memory_bank import MemoryBank

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunState:
    """The parts; `scaler` is the gradient scaler of fp16, None in other precisions.

    No random state is among them: order, views and dropout are functions of (seed, step).
    """

    module: DistillationModule
    ema: ModelEmaV3
    optimiser: Optimizer
    memory_bank: MemoryBank | None
    scaler: Any

    def write(self, path: Path, facts: Mapping[str, Any]) -> None:
        """Replace the file atomically; `facts` are stored with it as JSON."""
        parts: dict[str, Mapping[str, Tensor]] = {
            "model": self.module.state_dict(),
            "ema": self.ema.module.state_dict(),
            "optimiser": optim.optimiser_tensors(self.optimiser),
            "recent": self.memory_bank.stored if self.memory_bank else {},
        }
        tensors = {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}
        checkpoint.write(path, tensors, {**facts, "scaler": self.scaler.state_dict() if self.scaler else None})

    def read(self, out: Path) -> dict[str, Any] | None:
        """Restore what `write` wrote to LAST in `out`, and return its facts; None if there is nothing to continue.

        That is also so if a file of the interrupted run is damaged: a warning names it, and the files are removed.
        """
        if not (out / checkpoint.LAST).is_file():
            return None
        try:
            tensors, facts = checkpoint.read_last(out)
            history.check(out, facts.get("history"))
        except ValueError as cause:
            log.warning("%s; the training starts again", cause)
            for name in (checkpoint.LAST, checkpoint.BEST, history.FILE):
                (out / name).unlink(missing_ok=True)
            return None
        self._load(tensors)
        if facts["scaler"]:
            self.scaler.load_state_dict(facts["scaler"])
        return facts

    def _load(self, tensors: dict[str, Tensor]) -> None:
        self.module.load_state_dict(checkpoint.part(tensors, "model."))
        self.ema.module.load_state_dict(checkpoint.part(tensors, "ema."))
        optim.restore_optimiser(self.optimiser, checkpoint.part(tensors, "optimiser."))
        if self.memory_bank:
            device = next(self.module.parameters()).device
            stored = checkpoint.part(tensors, "recent.")
            self.memory_bank.stored = {name: value.to(device) for name, value in stored.items()}
