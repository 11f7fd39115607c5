"""The protocol of a comparison: methods, epochs and seeds, fixed before the first run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mlkd.losses import (
    Bce,
    ClassAware,
    InstanceAware,
    Kd,
    LabelKL,
    LabelMapKL,
    Loss,
    Mse,
    PartialSoftmax,
    PcaMaps,
    Pkt,
    ReviewKD,
    Rkd,
)

NO_TEACHER, LOGITS, STAGE_MAPS = "none", "mld", "reviewkd"
CONTROLS = NO_TEACHER, LOGITS, STAGE_MAPS  # every method is compared with each of them


@dataclass(frozen=True, kw_only=True)
class Method:
    """Losses with fixed weights, and losses that are multiplied by one factor.

    The factor gives their gradient the best of several `shares`.  A method without such losses may search `rates`
    instead.
    """

    name: str
    base: str | None = (
        None  # an earlier method: its losses at its best share, or its best learning rate, are used as well
    )
    fixed: tuple[Loss, ...] = (Bce(),)
    scaled: tuple[Loss, ...] = ()
    shares: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0)  # of the gradient norm of the labels, in the backbone
    rates: tuple[float, ...] = ()  # multiples of the student's learning rate
    length: float = 1.0  # epochs, relative to those of the other methods
    seeds: int | None = None  # how many of the seeds of the comparison; null: all

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise ValueError(f"name: expected small letters, digits and _, got {self.name!r}")
        for key, values in (("shares", self.shares), ("rates", self.rates), ("length", (self.length,))):
            if len(set(values)) < len(values) or not all(0 < value < float("inf") for value in values):
                raise ValueError(f"{key}: expected different numbers above 0, got {list(values)}")
        if self.scaled and (self.rates or not self.shares):
            raise ValueError(f"method {self.name}: expected shares and no rates for scaled losses")
        if self.seeds is not None and self.seeds < 1:
            raise ValueError(f"seeds: expected at least 1, got {self.seeds}")
        kinds = [loss.kind for loss in (*self.fixed, *self.scaled)]
        if not kinds or len(set(kinds)) < len(kinds):
            raise ValueError(f"method {self.name}: expected at least one loss and each kind once, got {kinds}")

    @property
    def grid(self) -> tuple[float, ...]:
        """The shares or rates of which one is chosen; empty where nothing is."""
        return self.shares if self.scaled else self.rates

    def losses(self, factor: float, base: Sequence[Loss] = ()) -> tuple[Loss, ...]:
        """All losses: the fixed ones, those of the base, and the scaled ones at `factor` times their weight."""
        return (*self.fixed, *base, *self.scale(factor))

    def scale(self, factor: float) -> tuple[Loss, ...]:
        """The scaled losses at `factor` times their weight."""
        return tuple(replace(loss, weight=factor * loss.weight) for loss in self.scaled)


STRUCTURE = ClassAware(weight=100.0, ramp_epochs=2), InstanceAware(weight=1000.0, ramp_epochs=2)
MAPS = LabelMapKL(), PcaMaps(weight=20.0)
FEW = 3  # seeds of the methods that answer no main question
LONGER = 1.2  # time of the slowest method, relative to `none` and `mld`
# What is added to `mld` is added to the same `mld`, at its best share; `l2d` adds both structural losses in their
# published ratio.
METHODS = (
    Method(name=NO_TEACHER, rates=(0.25, 0.5, 1.0, 2.0, 4.0)),
    Method(name="none_long", base=NO_TEACHER, length=LONGER, seeds=FEW),
    Method(name="mse", scaled=(Mse(weight=0.1),), seeds=FEW),
    Method(name="partial_softmax", scaled=(PartialSoftmax(),), seeds=FEW),
    Method(name="rkd", scaled=(Rkd(),), seeds=FEW),
    Method(name="pkt", scaled=(Pkt(),), seeds=FEW),
    Method(name=STAGE_MAPS, scaled=(ReviewKD(ramp_epochs=1),)),  # published: 20 of 240 epochs
    Method(name="kd", scaled=(Kd(),), seeds=FEW),
    Method(name=LOGITS, scaled=(LabelKL(),)),
    Method(name="mld_long", base=LOGITS, length=LONGER, seeds=FEW),
    Method(name="mld_cd", base=LOGITS, scaled=STRUCTURE[:1], seeds=FEW),
    Method(name="mld_cd_memory", base=LOGITS, scaled=(replace(STRUCTURE[0], memory=8),), seeds=FEW),
    Method(name="mld_id", base=LOGITS, scaled=STRUCTURE[1:], seeds=FEW),
    Method(name="l2d", base=LOGITS, scaled=STRUCTURE),
    Method(name="mld_reviewkd", base=LOGITS, scaled=(ReviewKD(ramp_epochs=1),)),
    Method(name="mld_label_maps", base=LOGITS, scaled=MAPS[:1], seeds=FEW),
    Method(name="mld_pca_maps", base=LOGITS, scaled=MAPS[1:], seeds=FEW),
    Method(name="maps", scaled=MAPS),
    Method(name="mld_maps", base=LOGITS, scaled=MAPS),
)


@dataclass(frozen=True, kw_only=True)
class Compare:
    """The protocol: a grid on *select* with seed 0 and half the epochs, then `seeds` seeds from 0 on, on *test*.

    `wider` adds to the grids of single methods, by name: a best value on the edge of a grid asks for more.
    """

    epochs: int | None = None  # of the final trainings; null: the student's
    seeds: int = 5
    methods: tuple[Method, ...] = METHODS
    wider: dict[str, tuple[float, ...]] = field(default_factory=dict)  # more shares or rates, by method

    def __post_init__(self) -> None:
        limits = {"epochs": (1, 10_000), "seeds": (1, 1000)}
        for key, (low, high) in limits.items():
            value = getattr(self, key)
            if value is not None and not low <= value <= high:
                raise ValueError(f"compare.{key}: expected {low}..{high}, got {value}")
        names = [method.name for method in self.methods]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"compare.methods: expected at least one and distinct names, got {names}")
        if unknown := sorted(self.wider.keys() - {method.name for method in self.methods if method.grid}):
            raise ValueError(f"compare.wider: expected names of methods with a grid, got {', '.join(unknown)}")
        for name, values in self.wider.items():
            if not all(0 < value < float("inf") for value in values):
                raise ValueError(f"compare.wider.{name}: expected numbers above 0, got {list(values)}")
        self._check_bases()

    def _check_bases(self) -> None:
        """Raise ValueError where a base is not an earlier method with a share, or has a loss of the method's."""
        earlier: dict[str, Method] = {}
        for method in self.methods:
            base = earlier.get(method.base or "")
            if method.base and (base is None or base.base or not base.grid):
                known = ", ".join(name for name, one in earlier.items() if one.grid and not one.base) or "none yet"
                raise ValueError(
                    f"compare.methods: {method.name}: base: expected an earlier method with a grid and no base "
                    f"({known}), got {method.base!r}"
                )
            kinds = [loss.kind for loss in self.losses(method)]
            if len(set(kinds)) < len(kinds):
                raise ValueError(f"compare.methods: {method.name}: expected each kind of loss once, got {kinds}")
            earlier[method.name] = method

    def grid_of(self, method: Method) -> tuple[float, ...]:
        """The shares or rates of which one is chosen, in order; empty where nothing is."""
        return tuple(sorted({*method.grid, *self.wider.get(method.name, ())}))

    def seeds_of(self, method: Method) -> int:
        """How many trainings of a method count."""
        return self.seeds if method.seeds is None else min(self.seeds, method.seeds)

    def base_of(self, method: Method) -> Method | None:
        """The method whose losses are in this one as well."""
        return next((one for one in self.methods if one.name == method.base), None)

    def losses(self, method: Method) -> tuple[Loss, ...]:
        """All losses of a method, those that it scales at factor 1."""
        base = self.base_of(method)
        return method.losses(1.0, base.scaled if base else ())
