"""The hyper-parameters of one training run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from mlkd.losses import Bce, Loss
from mlkd.losses.base import Need

_LIMITS = {
    "epochs": (1, 10_000), "learning_rate": (1e-8, 10), "batch_size": (2, 65_536), "accumulate": (1, 1024),
    "backbone_scale": (0, 100), "frozen_groups": (0, 1000), "weight_decay": (0, 10), "warmup": (0, 1),
    "ema_decay": (0, 1), "gradient_norm": (1e-6, 1e9), "patience": (0, 10_000), "stop_epoch": (0, 10_000),
    "save_steps": (1, 10_000_000),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Training:
    """Hyper-parameters of one training run.

    `batch_size` is the number of images of one forward pass over all processes, which losses between images compare;
    `accumulate` forward passes make one step of the optimiser.  `adam` applies weight decay through the gradient, as
    published; losses here are means over images, so a published decay for a sum has to be divided by the batch size.

    Raises:
        ValueError: A value is out of range, no loss has a weight, or a kind of loss occurs twice.
    """

    epochs: int
    learning_rate: float
    losses: tuple[Loss, ...] = field(default_factory=lambda: (Bce(),))
    batch_size: int = 64
    accumulate: int = 1
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"  # auto: bf16 on CUDA, fp32 elsewhere
    optimiser: Literal["adamw", "adam"] = "adamw"
    schedule: Literal["one_cycle", "cosine"] = "one_cycle"
    warmup: float = 0.2  # share of all steps
    backbone_scale: float = 1.0  # the backbone's learning rate over the head's
    frozen_groups: int = (
        0  # stages, stem first, that keep their initial weights; their batch-norm statistics still change
    )
    weight_decay: float = 0.01  # not on biases and norms
    ema_decay: float = 0.99
    gradient_norm: float = 10.0
    stop_epoch: int = 0  # end after so many epochs of the schedule; 0 = after the last
    patience: int = 0  # stop after so many epochs without a better mAP on select; 0 = never
    compile: bool = False  # torch.compile; needs a C++ compiler
    save_steps: int = field(default=500, metadata={"identity": False})
    trackers: tuple[str, ...] = field(default=("tensorboard",), metadata={"identity": False})  # accelerate's names

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"training.{name}: expected {low}..{high}, got {getattr(self, name)}")
        kinds = [loss.kind for loss in self.losses]
        if not kinds:
            raise ValueError("training.losses: expected at least one loss, got none; add bce")
        if not any(loss.weight for loss in self.losses):
            raise ValueError(f"training.losses: expected one with a weight above 0, got 0 for each of {kinds}")
        if len(set(kinds)) < len(kinds):
            raise ValueError(f"training.losses: expected each kind once, got {kinds}")

    @property
    def last_epoch(self) -> int:
        """The largest number of epochs to train."""
        return min(self.stop_epoch, self.epochs) if self.stop_epoch else self.epochs

    @property
    def needs(self) -> frozenset[Need]:
        """What the losses with a weight compare: a teacher, label-wise embeddings, pooled features, stage maps."""
        return frozenset().union(*(loss.needs for loss in self.losses if loss.weight))

    @property
    def needs_teacher(self) -> bool:
        """Whether a loss with a weight compares with a teacher."""
        return "teacher" in self.needs
