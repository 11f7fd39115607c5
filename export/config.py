"""Configuration of the export: the accuracy budget of int8, and how far an engine may be from float32."""

from __future__ import annotations

from dataclasses import dataclass, field

_LIMITS = {"keep": (0, 1), "float_layers": (0, 1), "images": (1, 10**9)}


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The accuracy that int8 has to keep on *select*, and how many layers may stay in float for it."""

    keep: float = 0.99  # smallest ratio to the float mAP; 0.99 is MLPerf's rule, 0.999 its stricter one
    float_layers: float = 0.25  # largest share of the layers that may stay in float
    images: int = 256  # of select, on which layers are compared
    allow: bool = field(default=False, metadata={"identity": False})  # export a graph over budget all the same

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"export.budget.{name}: expected {low}..{high}, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class ParityLimits:
    """The largest differences that are allowed; None is not checked.

    `map_loss` is exceeded if the whole 95 % interval of the change of mAP is below it, because a few hundred images do
    not tell a loss of one point from none.
    """

    max_difference: float | None = None
    mean_difference: float | None = None
    flipped: float | None = None
    map_loss: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"parity.{name}: expected 0..1 or none, got {value}")


@dataclass(frozen=True, kw_only=True)
class Gates:
    """Limits for each precision that an engine may compute in; `int8` is for all families of quantized graphs.

    Quantized scores may change, decisions and ranks may not: a budget of 99 % of any mAP allows a loss of up to 0.01.
    """

    fp32: ParityLimits = field(default_factory=lambda: ParityLimits(max_difference=1e-3, flipped=1e-4, map_loss=1e-4))
    bf16: ParityLimits = field(default_factory=lambda: ParityLimits(flipped=0.02, map_loss=0.003))
    fp16: ParityLimits = field(default_factory=lambda: ParityLimits(flipped=0.005, map_loss=0.001))
    int8: ParityLimits = field(default_factory=lambda: ParityLimits(flipped=0.05, map_loss=0.01))

    def of(self, precision: str, compute: str) -> ParityLimits:
        """The limits for a graph's precision on a backend whose float products are f32, bf16 or f16."""
        if precision.startswith("int8"):
            return self.int8
        if compute == "bf16":
            return self.bf16
        return self.fp16 if precision == "fp16" or compute == "f16" else self.fp32
