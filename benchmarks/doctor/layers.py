"""One layer of an engine as its runtime timed it; every runtime's profile is read into these."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

WARM, RUNS = 10, 30  # images before and in a profile
FLOATS = ("f32", "bf16", "f16")
Role = Literal["product", "pair", "reorder", "other"]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What ran, in what, for how long.

    A pair is a quantise or dequantise that did not fuse, a reorder only moves data.  An island computes in float
    between a dequantise and the next quantise.
    """

    name: str  # ours, where the runtime kept it
    operator: str
    computes: str  # "int8", "f32", ...
    role: Role
    milliseconds: float  # for one image, the least of several: other programs can only add to it
    kernel: str = ""  # the runtime's word for its implementation
    island: bool = False
    behind: str = ""  # the operator that stands between this one and the quantise behind it


def in_float(layer: Layer) -> bool:
    """Whether it computes in a floating-point type."""
    return layer.computes in FLOATS


def least(timed: Iterable[tuple[str, float]], runs: int) -> dict[str, float]:
    """Milliseconds of a run by name, from what was timed in `runs` equal runs."""
    samples: dict[str, list[float]] = defaultdict(list)
    for name, milliseconds in timed:
        samples[name].append(milliseconds)
    # a name may occur several times in a run
    return {name: min(values) * max(1, round(len(values) / runs)) for name, values in samples.items()}


def noise(image: Sequence[int]) -> NDArray[np.uint8]:
    """One image (1, H, W, 3): what is in it changes no time."""
    pixels: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (1, *image), dtype=np.uint8)
    return pixels
