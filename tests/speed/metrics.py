"""AP per label, and bootstrap replicates of mAP, against scikit-learn: `python tests/speed/metrics.py`.

Both see the same arrays, in turn, in one process; `factor` is scikit-learn's median time over ours.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score

sys.path.insert(0, str(Path(__file__).parents[2]))
from mlkd.bootstrap import bootstrap_difference, resampled_map
from mlkd.metrics import average_precision

REPEATS = 3
BOOTSTRAPS = (
    (5_000, 30, 20),
    (40_000, 80, 10),
)  # pictures, labels, replicates: usual are 1,000, over which sorting counts less

Case = tuple[str, Callable[[], np.ndarray], Callable[[], np.ndarray]]


def main() -> None:
    """Print the tables."""
    print(f"{'what':52} {'ours min':>9} {'median':>9} {'sklearn min':>12} {'median':>9} {'factor':>7}  differs by")
    for case in (precision(np.float32), precision(np.float64)):
        compare(*case)
    for size in BOOTSTRAPS:
        for case in bootstraps(*size):
            compare(*case)


def precision(dtype: type) -> Case:
    scores, targets = drawn(40_000, 80, dtype)
    what = f"AP by label, 40,000 x 80, {np.dtype(dtype)}"
    return what, lambda: average_precision(scores, targets), lambda: by_label(scores, targets)


def bootstraps(pictures: int, labels: int, replicates: int) -> Iterator[Case]:
    scores, targets = drawn(pictures, labels, np.float32)
    other = drawn(pictures, labels, np.float32, seed=1)[0]
    shape, groups, rows = (
        f"{pictures:,} x {labels}, {replicates} times",
        np.arange(pictures),
        resamples(pictures, replicates),
    )
    yield (
        f"bootstrap of mAP, {shape}",
        lambda: resampled_map(scores, targets, groups, replicates=replicates),
        lambda: np.array([map_of(scores, targets, chosen) for chosen in rows]),
    )
    yield (
        f"bootstrap of a difference, {shape}",
        lambda: difference(scores, other, targets, groups, replicates),
        lambda: interval(scores, other, targets, rows),
    )


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


def drawn(pictures: int, labels: int, dtype: type, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores that are right more often than not; 4 % of the targets are positive, as in COCO."""
    targets = np.random.default_rng(100).random((pictures, labels)) < 0.04
    noise = np.random.default_rng(seed).standard_normal((pictures, labels))
    return (1 / (1 + np.exp(3 - 2 * targets - noise))).astype(dtype), targets


def resamples(pictures: int, replicates: int) -> list[np.ndarray]:
    """The rows that our bootstrap draws."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, pictures, pictures) for _ in range(replicates)]


def by_label(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return np.array(average_precision_score(targets, scores, average=None))


def map_of(scores: np.ndarray, targets: np.ndarray, rows: np.ndarray) -> float:
    return float(average_precision_score(targets[rows], scores[rows], average="macro"))


def difference(a: np.ndarray, b: np.ndarray, targets: np.ndarray, groups: np.ndarray, replicates: int) -> np.ndarray:
    found = bootstrap_difference(a, b, targets, groups, replicates=replicates)
    return np.array([found.low, found.high])


def interval(a: np.ndarray, b: np.ndarray, targets: np.ndarray, drawn: list[np.ndarray]) -> np.ndarray:
    return np.quantile([map_of(a, targets, rows) - map_of(b, targets, rows) for rows in drawn], [0.025, 0.975])


if __name__ == "__main__":
    main()
