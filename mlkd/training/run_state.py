"""The state of a training run that changes from step to step, as one file to resume from."""

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
from mlkd.training.distillation_module import DistillationModule
from mlkd.training.memory_bank import MemoryBank


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

    def read(self, path: Path) -> dict[str, Any]:
        """Restore what `write` wrote and return its facts.  Raises ValueError for a missing or damaged file."""
        tensors, facts = checkpoint.read(path)
        self.module.load_state_dict(checkpoint.part(tensors, "model."))
        self.ema.module.load_state_dict(checkpoint.part(tensors, "ema."))
        optim.restore_optimiser(self.optimiser, checkpoint.part(tensors, "optimiser."))
        if self.memory_bank:
            device = next(self.module.parameters()).device
            stored = checkpoint.part(tensors, "recent.")
            self.memory_bank.stored = {name: value.to(device) for name, value in stored.items()}
        if facts["scaler"]:
            self.scaler.load_state_dict(facts["scaler"])
        return facts
