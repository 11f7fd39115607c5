"""Means over seeds, and paired differences with an interval for the choice of images and of seeds."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlkd.core.groups import Groups
from mlkd.core.intervals import Variance, half_width, variance


@dataclass(frozen=True)
class Spread:
    """Mean over seeds, and the standard deviation between them (n - 1) where there are two."""

    mean: float
    sd: float | None

    @classmethod
    def of(cls, values: Collection[float | None]) -> Spread | None:
        """None without values; a None among them is a number that its run does not have."""
        found = [value for value in values if value is not None]
        if not found:
            return None
        return cls(float(np.mean(found)), float(np.std(found, ddof=1)) if len(found) > 1 else None)


@dataclass(frozen=True)
class Gain:
    """Mean difference of mAP to another method over the seeds that both have, with its 95 % interval."""

    value: float
    low: float
    high: float
    seeds: int


@dataclass(frozen=True)
class Measured:
    """Test mAP of one method's runs by seed, and the influence of every test image on it (N, 2)."""

    maps: Mapping[int, float]
    influences: Mapping[int, NDArray[np.float64]]


def difference(a: Measured, b: Measured, groups: Groups) -> Gain | None:
    """mAP(a) - mAP(b), paired by seed and by image; None without common seeds.

    The variance is that of the mean over seeds on these images for the choice of images, plus the variance between the
    seeds over their number.  Both hold the images' effect on single seeds, which is taken off once.  The interval is a
    t interval whose degrees of freedom follow Satterthwaite (1946).  With one seed it is for the choice of images only.
    """
    common = sorted(a.maps.keys() & b.maps.keys())
    if not common:
        return None
    gaps = np.array([a.maps[seed] - b.maps[seed] for seed in common])
    influences = np.stack([a.influences[seed] - b.influences[seed] for seed in common])  # (S, N, 2)
    images = variance(influences.mean(0), groups)
    total, doubt = images.value, images.value**2 / images.freedom
    if len(common) > 1:
        between = float(gaps.var(ddof=1)) / len(common)
        single = sum(variance(one, groups).value for one in influences - influences.mean(0))
        total += max(0.0, between - single / (len(common) * (len(common) - 1)))
        doubt += between**2 / (len(common) - 1)
    half = half_width(Variance(total, max(1.0, total**2 / doubt) if doubt else float("inf")))
    value = float(gaps.mean())
    return Gain(value, value - half, value + half, len(common))
