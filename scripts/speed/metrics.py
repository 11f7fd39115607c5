"""AP per label, and the interval of mAP, against scikit-learn: `python scripts/speed_metrics.py`.

Both see the same arrays, in turn, in one process; `factor` is scikit-learn's median time over ours.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score

sys.path.insert(0, str(Path(__file__).parents[1]))
from mlkd.core.intervals import difference_interval, map_interval
from mlkd.core.metrics import average_precision

REPEATS = 3
SIZES = ((5_000, 30), (40_000, 80))  # images, labels

Case = tuple[str, Callable[[], np.ndarray], Callable[[], np.ndarray]]


def main() -> None:
    """Print the tables."""
    print(f"{'what':52} {'ours min':>9} {'median':>9} {'sklearn min':>12} {'median':>9} {'factor':>7}  differs by")
    for case in (precision(np.float32), precision(np.float64)):
        compare(*case)
    for images, labels in SIZES:
        (scores, targets), (other, _) = (drawn(images, labels, np.float32, seed) for seed in (0, 1))
        arguments = (targets, np.arange(images))
        calls = {
            "interval of mAP": partial(map_interval, scores, *arguments),
            "interval of a difference": partial(difference_interval, scores, other, *arguments),
        }
        for what, call in calls.items():
            print(f"{what}, {images:,} x {labels}: {seconds(call):.3f} s")


def seconds(function: Callable[[], object]) -> float:
    """Median time of a call."""
    taken = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        function()
        taken.append(time.perf_counter() - began)
    return float(np.median(taken))


def precision(dtype: type) -> Case:
    scores, targets = drawn(40_000, 80, dtype)
    what = f"AP by label, 40,000 x 80, {np.dtype(dtype)}"
    return what, lambda: average_precision(scores, targets), lambda: by_label(scores, targets)


def compare(what: str, ours: Callable[[], np.ndarray], theirs: Callable[[], np.ndarray]) -> None:
    """Time both in turn and print one line."""
    times: tuple[list[float], list[float]] = ([], [])
    apart = 0.0
    for _ in range(REPEATS):
        values = []
        for taken, function in zip(times, (ours, theirs), strict=True):
            began = time.perf_counter()
            values.append(function())
            taken.append(time.perf_counter() - began)
        apart = max(apart, float(np.abs(values[0] - values[1]).max()))
    (low, middle), (their_low, their_middle) = ((min(taken), float(np.median(taken))) for taken in times)
    told = f"{low:8.3f}s {middle:8.3f}s {their_low:11.3f}s {their_middle:8.3f}s {their_middle / middle:6.1f}x"
    print(f"{what:52} {told}  {apart:.0e}")


def drawn(images: int, labels: int, dtype: type, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores that are right more often than not; 4 % of the targets are positive, as in COCO."""
    targets = np.random.default_rng(100).random((images, labels)) < 0.04
    noise = np.random.default_rng(seed).standard_normal((images, labels))
    return (1 / (1 + np.exp(3 - 2 * targets - noise))).astype(dtype), targets


def by_label(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return np.array(average_precision_score(targets, scores, average=None))


if __name__ == "__main__":
    main()
