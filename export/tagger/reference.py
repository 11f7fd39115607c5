"""Golden images as a device reads them, and how far correct engines may be from what they gave."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.backends import RuntimeInfo
from export.bundle.manifest import EngineEntry, Manifest
from export.errors import BundleError

MOST_BYTES = 1 << 28  # of the arrays of golden images: theirs are a few megabytes
COMPUTE = {"fp32": "f32", "fp16": "f16"}  # of a graph; all others are int8

Values = NDArray[Any]


@dataclass(frozen=True)
class Limit:
    """How far values may be from what is expected, at most and on average."""

    largest: float
    mean: float = math.inf

    def allows(self, expected: Values, found: Values) -> bool:
        """Whether they are no further apart; never where shapes differ or one found is no number."""
        largest = largest_difference(expected, found)
        return largest is not None and largest <= self.largest and mean_difference(expected, found) <= self.mean

    def __str__(self) -> str:
        """As messages name it."""
        return f"{self.largest:g}" + (f" (mean {self.mean:g})" if math.isfinite(self.mean) else "")


LIMITS = {  # by what an engine computes in; in brackets what correct engines differed by
    "f32": Limit(1e-3),  # the order of sums (1e-6)
    "f16": Limit(1e-2),  # eleven bits (1e-3)
    "bf16": Limit(5e-2),  # eight bits (1e-2)
    "int8": Limit(0.25, 0.015),  # from exact arithmetic (0.23, mean 0.009); by saturation trained nets drift further
}


@dataclass(frozen=True)
class Golden:
    """The golden images of a bundle and what they gave where it was made."""

    files: tuple[Path, ...]
    decoded: tuple[NDArray[np.uint8], ...]  # (H, W, 3) each
    pixels: tuple[NDArray[np.uint8], ...]  # (image_px, image_px, 3) each
    scores: Mapping[str, NDArray[np.float32]]  # by engine (G, L)
    labels: tuple[str, ...]  # (L,)
    thresholds: Mapping[str, tuple[float, ...]]  # by engine (L,)

    @classmethod
    def read(cls, folder: Path, manifest: Manifest) -> Golden:
        """Those of a verified bundle; raises BundleError if something is missing in them."""
        file, count = folder / manifest.golden_expected, len(manifest.golden)
        try:
            with zipfile.ZipFile(file) as archive:
                size = sum(entry.file_size for entry in archive.infolist())
            if size > MOST_BYTES:
                raise ValueError(f"{size} bytes of arrays, more than {MOST_BYTES}")
            with np.load(file, allow_pickle=False) as arrays:
                decoded, pixels = ([arrays[f"{step}_{i}"] for i in range(count)] for step in ("decoded", "pixels"))
                scores = {entry.name: arrays[f"scores:{entry.name}"] for entry in manifest.engines}
                labels = tuple(map(str, arrays["labels"]))
                limits = {entry.name: arrays[f"thresholds:{entry.name}"] for entry in manifest.engines}
        except Exception as cause:  # zlib, zipfile and numpy raise classes of their own; MemoryError if a size lies
            raise BundleError(f"{file}: expected what golden images give, got: {cause}; export again") from cause
        square, table = (manifest.image_px, manifest.image_px, 3), (count, len(manifest.labels))
        for found in pixels:
            _check(file, "pixels", found, np.uint8, square)
        for found in decoded:
            _check(file, "decoded", found, np.uint8, (*found.shape[:2], 3))
        for engine, found in scores.items():
            _check(file, f"scores:{engine}", found, np.float32, table)
        if len(labels) != len(manifest.labels):
            raise BundleError(f"{file}: labels: expected {len(manifest.labels)}, got {len(labels)}; export again")
        for engine, found in limits.items():
            _check(file, f"thresholds:{engine}", found, np.float64, table[1:])
        files = tuple(folder / path for path in manifest.golden)
        thresholds = {engine: tuple(found.tolist()) for engine, found in limits.items()}
        return cls(files, tuple(decoded), tuple(pixels), scores, labels, thresholds)


def _check(file: Path, name: str, found: Values, dtype: type, shape: tuple[int, ...]) -> None:
    if found.dtype != dtype or found.shape != shape or not found.size or not np.isfinite(found).all():
        expected, got = f"finite {np.dtype(dtype)} {shape}", f"{found.dtype} {found.shape}"
        raise BundleError(f"{file}: {name}: expected {expected}, got {got}; export again")


def score_limit(entry: EngineEntry, runtime_info: RuntimeInfo) -> Limit:
    """By what the engine computes in here, or was to compute in where the bundle was made, if that is coarser."""
    made = LIMITS[COMPUTE.get(entry.precision, "int8")]
    here = LIMITS.get(runtime_info.compute, made)  # TensorRT does not say what int8 runs in
    return max(made, here, key=lambda limit: limit.largest)


def mean_difference(expected: Values, found: Values) -> float:
    """Between two arrays of one shape."""
    return float(np.abs(expected.astype(np.float64) - found).mean())


def largest_difference(expected: Values, found: Values) -> float | None:
    """Between two arrays; None where their shapes differ, or one found is no number."""
    if expected.shape != found.shape or not np.isfinite(found).all():
        return None
    return float(np.abs(expected.astype(np.float64) - found).max(initial=0))
