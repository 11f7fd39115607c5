"""What thresholds are tuned for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """The aim of tuning: for each label the highest F1, or the highest recall with at least a `precision` in 0..1.

    A threshold is the weighted mean, on the logit scale, of the label's own optimum and the optimum of all decisions
    pooled; the weight of its own is n / (n + prior) for a label with n positives.
    """

    aim: Literal["f1", "precision"] = "f1"
    precision: float | None = None
    prior: float = 2.0

    def __post_init__(self) -> None:
        if self.aim == "f1" and self.precision is not None:
            raise ValueError(
                f"thresholds.precision: expected none with aim f1, got {self.precision}; set aim: precision too"
            )
        if self.aim == "precision" and (self.precision is None or not 0 < self.precision <= 1):
            raise ValueError(
                f"thresholds.precision: expected above 0 and at most 1 with aim precision, got {self.precision}"
            )
        if not 0 <= self.prior < math.inf:
            raise ValueError(f"thresholds.prior: expected a number of positives of at least 0, got {self.prior}")
