"""How far the results of a correct engine may be from the expected ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.backends import RuntimeInfo
from export.bundle.manifest import EngineEntry

COMPUTE = {"fp32": "f32", "fp16": "f16"}  # by precision of a graph; every other precision is int8

WRONG_TAGS = "wrong tags on this machine"  # an engine's scores are not those of its self-test

Values = NDArray[Any]


@dataclass(frozen=True)
class Limit:
    """The largest maximum and mean absolute difference from the expected values."""

    largest: float
    mean: float = math.inf

    def allows(self, expected: Values, actual: Values) -> bool:
        """Whether `actual` is within the limit; never where shapes differ or a value is not finite."""
        largest = largest_difference(expected, actual)
        return largest is not None and largest <= self.largest and mean_difference(expected, actual) <= self.mean

    def describe(self, expected: Values, actual: Values) -> str:
        """Say how far `actual` is off, with the mean where it is limited."""
        largest = largest_difference(expected, actual)
        if largest is None:
            return "values that are not finite"
        mean = f" (mean {mean_difference(expected, actual):.2g})" if math.isfinite(self.mean) else ""
        return f"scores that differ by {largest:.2g}{mean}"

    def wrong_tags(self, expected: Values, actual: Values) -> str | None:
        """Say how scores differ from those of the self-test; None if they are within the limit."""
        if self.allows(expected, actual):
            return None
        got = self.describe(expected, actual)
        return f"{WRONG_TAGS}: expected the scores of its self-test within {self}, got {got}"

    def __str__(self) -> str:
        """As error messages show it."""
        return f"{self.largest:g}" + (f" (mean {self.mean:g})" if math.isfinite(self.mean) else "")


LIMITS = {  # by what an engine computes in; in brackets the differences measured on correct engines
    "f32": Limit(1e-3),  # the order of sums (1e-6)
    "f16": Limit(1e-2),  # eleven bits (1e-3)
    "bf16": Limit(5e-2),  # eight bits (1e-2)
    "int8": Limit(0.25, 0.015),  # from exact arithmetic (0.23, mean 0.009); saturation moves trained nets further
}


def graph_compute(precision: str) -> str:
    """What a graph of this precision computes in, the key of its limit."""
    return COMPUTE.get(precision, "int8")


def score_limit(entry: EngineEntry, runtime_info: RuntimeInfo) -> Limit:
    """The coarser of two limits: that of the graph's precision and that of what the session computes in."""
    built = LIMITS[graph_compute(entry.precision)]
    running = LIMITS.get(runtime_info.compute, built)  # TensorRT does not report what int8 runs in
    return max(built, running, key=lambda limit: limit.largest)


def mean_difference(expected: Values, actual: Values) -> float:
    """Mean absolute difference of two arrays of one shape."""
    return float(np.abs(expected.astype(np.float64) - actual).mean())


def largest_difference(expected: Values, actual: Values) -> float | None:
    """Largest absolute difference of two arrays; None where shapes differ or a value is not finite."""
    if expected.shape != actual.shape or not np.isfinite(actual).all():
        return None
    return float(np.abs(expected.astype(np.float64) - actual).max(initial=0))
