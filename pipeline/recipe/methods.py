"""The protocol of a comparison: methods, epochs and seeds, fixed before the first run."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

from mlkd.losses import Bce, ClassAware, InstanceAware, Kd, LabelKL, Loss, Mse, PartialSoftmax, Pkt, ReviewKD, Rkd

NO_TEACHER, PUBLISHED = "none", "l2d"  # the other methods are compared with both


@dataclass(frozen=True, kw_only=True)
class Method:
    """Losses with fixed weights, and losses whose weights are multiplied by the best of three factors."""

    name: str
    fixed: tuple[Loss, ...] = (Bce(),)
    scaled: tuple[Loss, ...] = ()
    factors: tuple[float, float, float] = (0.1, 1.0, 10.0)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise ValueError(f"name: expected small letters, digits and _, got {self.name!r}")
        if len(set(self.factors)) < len(self.factors) or not all(0 < factor < float("inf") for factor in self.factors):
            raise ValueError(f"factors: expected three different numbers above 0, got {list(self.factors)}")
        kinds = [loss.kind for loss in (*self.fixed, *self.scaled)]
        if not kinds or len(set(kinds)) < len(kinds):
            raise ValueError(f"method {self.name}: expected at least one loss and each kind once, got {kinds}")

    def losses(self, factor: float) -> tuple[Loss, ...]:
        """All losses, the scaled ones at `factor` times their weight."""
        scaled = (dataclasses.replace(loss, weight=factor * loss.weight) for loss in self.scaled)
        return (*self.fixed, *scaled)


# Weights at factor 1 are the published ones, if any.  l2d fixes its loss on logits, that of `mld`, and scales its two
# structural losses in their published ratio, also by much smaller factors: the published weights hurt a short training.
METHODS = (
    Method(name=NO_TEACHER),
    Method(name="mse", scaled=(Mse(weight=0.1),)),
    Method(name="partial_softmax", scaled=(PartialSoftmax(),)),
    Method(name="rkd", scaled=(Rkd(),)),
    Method(name="pkt", scaled=(Pkt(),)),
    Method(name="reviewkd", scaled=(ReviewKD(ramp_epochs=1),)),  # published: 20 of 240 epochs
    Method(name="kd", scaled=(Kd(),)),
    Method(name="mld", scaled=(LabelKL(),)),
    Method(
        name=PUBLISHED,
        fixed=(Bce(), LabelKL()),
        scaled=(ClassAware(weight=100.0, ramp_epochs=2), InstanceAware(weight=1000.0, ramp_epochs=2)),
        factors=(0.001, 0.03, 1.0),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Compare:
    """The protocol: a grid on *select* with seed 0 and half the epochs, then `seeds` seeds from 0 on, on *test*."""

    epochs: int | None = None  # of the final trainings; null: the student's
    seeds: int = 5
    methods: tuple[Method, ...] = METHODS

    def __post_init__(self) -> None:
        limits = {"epochs": (1, 10_000), "seeds": (1, 1000)}
        for field, (low, high) in limits.items():
            value = getattr(self, field)
            if value is not None and not low <= value <= high:
                raise ValueError(f"compare.{field}: expected {low}..{high}, got {value}")
        names = [method.name for method in self.methods]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"compare.methods: expected at least one and distinct names, got {names}")
