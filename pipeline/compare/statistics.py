"""Means over seeds, and paired differences with an interval for the choice of images and of seeds."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mlkd.core.groups import Groups
from mlkd.core.intervals import Variance, half_width, variance


@dataclass(frozen=True)
class Spread:
    """Mean over seeds, and standard deviation between seeds (n - 1) if there are two or more."""

    mean: float
    sd: float | None

    @classmethod
    def of(cls, values: Collection[float | None]) -> Spread | None:
        """Ignore None; the result is None without values."""
        finite = [value for value in values if value is not None]
        if not finite:
            return None
        return cls(float(np.mean(finite)), float(np.std(finite, ddof=1)) if len(finite) > 1 else None)


@dataclass(frozen=True)
class Gain:
    """Mean difference of mAP to another method over the seeds of both, with its interval."""

    value: float
    low: float
    high: float
    seeds: int


@dataclass(frozen=True)
class Measured:
    """A method's test mAP by seed, and the influence of every test image on it (N, 2)."""

    maps: dict[int, float] = field(default_factory=dict)
    influences: dict[int, NDArray[np.float64]] = field(default_factory=dict)


def seed_variance(methods: Collection[Measured], control: Measured) -> Variance | None:
    """Variance between seeds of the difference of a method and the control, pooled over the methods.

    A few seeds of one method say little about it; the seeds of all methods change the same things, the initial weights
    and the order of images.  None without a method that has two seeds in common with the control.
    """
    squares, freedom = 0.0, 0
    for method in methods:
        gaps = np.array([value - control.maps[seed] for seed, value in method.maps.items() if seed in control.maps])
        if len(gaps) > 1:
            squares, freedom = squares + float(np.square(gaps - gaps.mean()).sum()), freedom + len(gaps) - 1
    return Variance(squares / freedom, freedom) if freedom else None


def difference(
    a: Measured, b: Measured, groups: Groups, *, between: Variance | None = None, comparisons: int = 1
) -> Gain | None:
    """mAP(a) - mAP(b), paired by seed and by image; None without common seeds.

    Two variances are added: that of the mean over seeds for the choice of images, and the variance `between` seeds, by
    default of these methods alone, over their number.  Both contain the effect of the images on single seeds, so it is
    subtracted once.  The interval is a t interval whose degrees of freedom follow Satterthwaite (1946).  With one seed
    it covers the choice of images only.

    Of several `comparisons`, all intervals together cover 95 % (Bonferroni).
    """
    common = sorted(a.maps.keys() & b.maps.keys())
    if not common:
        return None
    gaps = np.array([a.maps[seed] - b.maps[seed] for seed in common])
    influences = np.stack([a.influences[seed] - b.influences[seed] for seed in common])  # (S, N, 2)
    images = variance(influences.mean(0), groups)
    total, uncertainty = images.value, images.value**2 / images.freedom
    if len(common) > 1:
        seeds = between or Variance(float(gaps.var(ddof=1)), len(common) - 1)
        of_mean = seeds.value / len(common)
        single = sum(variance(own, groups).value for own in influences - influences.mean(0))
        total += max(0.0, of_mean - single / (len(common) * (len(common) - 1)))
        uncertainty += of_mean**2 / seeds.freedom
    freedom = max(1.0, total**2 / uncertainty) if uncertainty else float("inf")
    half = half_width(Variance(total, freedom), 1 - 0.05 / comparisons)
    value = float(gaps.mean())
    return Gain(value, value - half, value + half, len(common))
