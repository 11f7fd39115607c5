"""Means over seeds, and paired differences with an interval for what pictures and seeds leave open."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
    """Test mAP of one method's runs by seed, and that of each bootstrap replicate (R,)."""

    maps: Mapping[int, float]
    draws: Mapping[int, NDArray[np.float64]]


def difference(a: Measured, b: Measured, *, seed: int) -> Gain | None:
    """mAP(a) - mAP(b), paired by seed and, in every replicate, by the pictures drawn; None without common seeds.

    Each replicate draws pictures and seeds anew, independently and with replacement (pigeonhole bootstrap, Owen 2007).
    `seed` may be the one that the pictures were drawn with.
    """
    common = sorted(a.maps.keys() & b.maps.keys())
    if not common:
        return None
    gaps = np.stack([a.draws[one] - b.draws[one] for one in common])  # (S, R)
    replicates = gaps.shape[1]
    drawn = np.random.default_rng([seed, 1]).integers(0, len(common), (replicates, len(common)))
    means = gaps[drawn, np.arange(replicates)[:, None]].mean(1)
    low, high = np.nanquantile(means, [0.025, 0.975])
    value = float(np.mean([a.maps[one] - b.maps[one] for one in common]))
    return Gain(value, float(low), float(high), len(common))
