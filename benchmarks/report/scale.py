"""Axes: a value to a pixel, and round numbers to write beside the axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

SERIES: tuple[tuple[float, ...], ...] = (
    (1,),
    (1, 3),
    (1, 2, 5),
    (1, 1.5, 2, 3, 4, 5, 7),
    *(tuple(i / parts for i in range(parts, 10 * parts)) for parts in (1, 2, 5, 10)),
)


@dataclass(frozen=True)
class Scale:
    """Maps low..high to start..end in pixels, by logarithm if `log`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Raises ValueError for a number that no drawing has room for."""
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        place = self.start + (self.end - self.start) * (at - low) / (high - low)
        if not math.isfinite(place):
            raise ValueError(f"{value:g} does not fit on an axis from {self.low:g} to {self.high:g}")
        return round(place, 1)

    def ticks(self, about: int) -> list[tuple[float, str]]:
        """Place and text of `about` round numbers, at most as many on a logarithmic scale."""
        found = log_ticks(self.low, self.high, about) if self.log else linear_ticks(self.low, self.high, about)
        return [(self(tick), f"{tick:.6g}".replace("-", "−")) for tick in found]


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers inside low..high: of the series below the finest that has at most `most` there."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [[step * 10.0**decade for decade in decades for step in steps] for steps in SERIES]
    found = [[tick for tick in ticks if low <= tick <= high] for ticks in every]
    return max((ticks for ticks in found if len(ticks) <= most), key=len)


def linear_ticks(low: float, high: float, about: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten inside low..high."""
    raw = (high - low) / about
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= raw * 0.999)
    return [round(i * step, 10) for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def padded(values: Sequence[float], share: float, least: float) -> tuple[float, float]:
    """Lowest and highest value with `share` of the span (at least `least`) added on both sides."""
    low, high = min(values), max(values)
    margin = max((high - low) * share, least)
    return low - margin, high + margin
