"""How a tagger is trained: the hyper-parameters of one run."""

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
    """How a tagger is trained.

    `batch_size` counts the images of one forward pass over all processes, which is what losses between images
    see; `accumulate` of them make a step of the optimiser.  `adam` decays weights through the gradient, as published:
    with a loss that is a mean over images its decay is that of a sum over the number of images.
    """

    epochs: int
    learning_rate: float
    losses: tuple[Loss, ...] = field(default_factory=lambda: (Bce(),))
    batch_size: int = 64
    accumulate: int = 1
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"  # auto: bf16 on CUDA, else fp32
    optimiser: Literal["adamw", "adam"] = "adamw"
    schedule: Literal["one_cycle", "cosine"] = "one_cycle"
    warmup: float = 0.2  # share of all steps with a rising learning rate
    backbone_scale: float = 1.0  # learning rate of the backbone, relative to the head's
    frozen_groups: int = 0  # backbone stages that stay as they are, from the stem; their outputs are computed once
    weight_decay: float = 0.01  # not applied to biases and normalization layers
    ema_decay: float = 0.99
    gradient_norm: float = 10.0
    stop_epoch: int = 0  # epochs to train of those that the schedule is made for; 0: all
    patience: int = 0  # epochs without a better mAP on select before training stops; 0: never stop early
    compile: bool = False  # use torch.compile; needs a C++ compiler
    save_steps: int = field(default=500, metadata={"identity": False})
    trackers: tuple[str, ...] = field(default=("tensorboard",), metadata={"identity": False})  # Accelerate's names

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"training.{name}: expected {low}..{high}, got {getattr(self, name)}")
        kinds = [loss.kind for loss in self.losses]
        if not kinds:
            raise ValueError("training.losses: expected at least one loss, got none; bce is the usual one")
        if not any(loss.weight for loss in self.losses):
            raise ValueError(f"training.losses: expected one with a weight above 0, got 0 for each of {kinds}")
        if len(set(kinds)) < len(kinds):
            raise ValueError(f"training.losses: expected each kind once, got {kinds}")

    @property
    def last_epoch(self) -> int:
        """Epochs that are trained at most."""
        return min(self.stop_epoch, self.epochs) if self.stop_epoch else self.epochs

    @property
    def needs(self) -> frozenset[Need]:
        """What the losses that count look at: a teacher, label-wise embeddings, pooled features, stage maps."""
        return frozenset().union(*(loss.needs for loss in self.losses if loss.weight))

    @property
    def needs_teacher(self) -> bool:
        """True if any loss compares with a teacher."""
        return "teacher" in self.needs
