"""The protocol of a comparison: methods, epochs and seeds, fixed before the first run."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass

from mlkd.losses import Bce, ClassAware, InstanceAware, Kd, LabelKL, Loss, Mse, PartialSoftmax, Pkt, ReviewKD, Rkd

NO_TEACHER, LOGITS = "none", "mld"  # the other methods are compared with both


@dataclass(frozen=True, kw_only=True)
class Method:
    """Losses with fixed weights, and losses that are multiplied by one factor.

    The factor gives their gradient the best of several `shares`.
    """

    name: str
    base: str | None = None  # an earlier method: its scaled losses, at its own best share, are in this one as well
    fixed: tuple[Loss, ...] = (Bce(),)
    scaled: tuple[Loss, ...] = ()
    shares: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0)  # of the gradient norm of the labels, in the backbone

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise ValueError(f"name: expected small letters, digits and _, got {self.name!r}")
        distinct = self.shares and len(set(self.shares)) == len(self.shares)
        if not distinct or not all(0 < share < float("inf") for share in self.shares):
            raise ValueError(f"shares: expected different numbers above 0, got {list(self.shares)}")
        kinds = [loss.kind for loss in (*self.fixed, *self.scaled)]
        if not kinds or len(set(kinds)) < len(kinds):
            raise ValueError(f"method {self.name}: expected at least one loss and each kind once, got {kinds}")

    def losses(self, factor: float, base: Sequence[Loss] = ()) -> tuple[Loss, ...]:
        """All losses: the fixed ones, those of the base, and the scaled ones at `factor` times their weight."""
        return (*self.fixed, *base, *self.scale(factor))

    def scale(self, factor: float) -> tuple[Loss, ...]:
        """The scaled losses at `factor` times their weight."""
        return tuple(dataclasses.replace(loss, weight=factor * loss.weight) for loss in self.scaled)


STRUCTURE = ClassAware(weight=100.0, ramp_epochs=2), InstanceAware(weight=1000.0, ramp_epochs=2)
# What is added to `mld` is added to the same `mld`, at its best share; `l2d` adds both structural losses in their
# published ratio.
METHODS = (
    Method(name=NO_TEACHER),
    Method(name="mse", scaled=(Mse(weight=0.1),)),
    Method(name="partial_softmax", scaled=(PartialSoftmax(),)),
    Method(name="rkd", scaled=(Rkd(),)),
    Method(name="pkt", scaled=(Pkt(),)),
    Method(name="reviewkd", scaled=(ReviewKD(ramp_epochs=1),)),  # published: 20 of 240 epochs
    Method(name="kd", scaled=(Kd(),)),
    Method(name="mld", scaled=(LabelKL(),)),
    Method(name="mld_cd", base="mld", scaled=STRUCTURE[:1]),
    Method(name="mld_id", base="mld", scaled=STRUCTURE[1:]),
    Method(name="l2d", base="mld", scaled=STRUCTURE),
    Method(name="mld_reviewkd", base="mld", scaled=(ReviewKD(ramp_epochs=1),)),
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
        self._check_bases()

    def _check_bases(self) -> None:
        """Raise ValueError where a base is not an earlier method with a share, or has a loss of the method's."""
        earlier: dict[str, Method] = {}
        for method in self.methods:
            base = earlier.get(method.base or "")
            if method.base and (base is None or base.base or not base.scaled):
                known = ", ".join(name for name, one in earlier.items() if one.scaled and not one.base) or "none yet"
                raise ValueError(
                    f"compare.methods: {method.name}: base: expected an earlier method with scaled losses and no base "
                    f"({known}), got {method.base!r}"
                )
            kinds = [loss.kind for loss in self.losses(method)]
            if len(set(kinds)) < len(kinds):
                raise ValueError(f"compare.methods: {method.name}: expected each kind of loss once, got {kinds}")
            earlier[method.name] = method

    def base_of(self, method: Method) -> Method | None:
        """The method whose losses are in this one as well."""
        return next((one for one in self.methods if one.name == method.base), None)

    def losses(self, method: Method) -> tuple[Loss, ...]:
        """All losses of a method, those that it scales at factor 1."""
        base = self.base_of(method)
        return method.losses(1.0, base.scaled if base else ())
