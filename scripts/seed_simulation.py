"""Measure the intervals of a comparison of methods over seeds: `python -m scripts.seed_simulation`.

Every draw trains two methods anew and draws a new test set.  A training moves how well each label is recognised, and
ranks the images of each label in a way of its own.  `covers`: the interval contains the true gain of the method.
`method claimed`: the interval of a comparison excludes 0 though the methods are equal.  `sign wrong`: the interval of
the choice of images excludes 0 on the wrong side, for two given files.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

from mlkd.core.intervals import influence
from mlkd.core.metrics import mean_average_precision
from pipeline.compare.statistics import Gain, Measured, difference, seed_variance

METHODS = 18  # compared with one control
LARGE = 20_000  # images of the test set that stands for all images


@dataclass(frozen=True)
class Errors:
    """Shares of draws."""

    covers: float
    sign_wrong: float
    seed_sd: float  # of true mAP between trainings of one method


def simulate(seeds: int, draws: int, spread: float, images: int = 400, labels: int = 20) -> Errors:
    """`spread`: standard deviation of what a training adds to the separation of all labels, which is 1.5."""
    truth = [_true_map(shift, labels) for shift in (-0.3, 0.3)]
    slope = (truth[1] - truth[0]) / 0.6
    covers, wrong, true_maps = [], [], []
    for at in range(draws):
        rng = np.random.default_rng([at, seeds])
        base, targets = _test_set(rng, images, labels)
        shifts = spread * rng.standard_normal((2, seeds))
        a, b = (_measured(rng, base, targets, some) for some in shifts)
        gain = difference(a, b, range(images))
        single = difference(*(Measured({0: one.maps[0]}, {0: one.influences[0]}) for one in (a, b)), range(images))
        assert gain is not None
        assert single is not None
        covers.append(gain.low <= 0 <= gain.high)
        wrong.append(_is_wrong(single, shifts[0, 0] - shifts[1, 0]))
        true_maps += list(slope * shifts[0])
    return Errors(float(np.mean(covers)), float(np.mean(wrong)), float(np.std(true_maps)))


def simulate_many(methods: int, seeds: int, draws: int, spread: float, images: int = 400, labels: int = 20) -> float:
    """Share of draws in which all simultaneous intervals of equal methods, compared with a control, contain 0."""
    covers = []
    for at in range(draws):
        rng = np.random.default_rng([at, seeds, methods])
        base, targets = _test_set(rng, images, labels)
        measured = [_measured(rng, base, targets, spread * rng.standard_normal(seeds)) for _ in range(methods + 1)]
        control, others = measured[0], measured[1:]
        between = seed_variance(others, control)
        gains = [difference(one, control, range(images), between=between, comparisons=methods) for one in others]
        covers.append(all(gain is not None and gain.low <= 0 <= gain.high for gain in gains))
    return float(np.mean(covers))


def _test_set(rng: np.random.Generator, images: int, labels: int) -> tuple[np.ndarray, np.ndarray]:
    """What the scores of all methods have in common, and targets: (N, L) each, rare labels first."""
    targets = rng.random((images, labels)) < np.geomspace(0.02, 0.3, labels)
    return rng.standard_normal((images, labels)), targets


def _measured(rng: np.random.Generator, base: np.ndarray, targets: np.ndarray, shifts: np.ndarray) -> Measured:
    """Trainings of one method on one test set, whose mean separation does not depend on the method."""
    maps, influences = {}, {}
    for seed, shift in enumerate(shifts):
        scores = base + (1.5 + shift) * targets + 0.5 * rng.standard_normal(base.shape)
        maps[seed] = mean_average_precision(scores, targets)
        influences[seed] = influence(scores, targets, range(len(base)))
    return Measured(maps, influences)


def _is_wrong(gain: Gain, true_shift: float) -> bool:
    return (gain.low > 0 and true_shift <= 0) or (gain.high < 0 and true_shift >= 0)


def _true_map(shift: float, labels: int) -> float:
    rng = np.random.default_rng(1)
    targets = rng.random((LARGE, labels)) < np.geomspace(0.02, 0.3, labels)
    noise = np.sqrt(1.25) * rng.standard_normal(targets.shape)
    return mean_average_precision(noise + (1.5 + shift) * targets, targets)


def main() -> None:
    """Print the table of docs/statistics.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=400)
    args = parser.parse_args()
    for spread in (0.0, 0.03, 0.1):
        for seeds in (1, 3, 5):
            found = simulate(seeds, args.draws, spread)
            shares = f"{100 * found.covers:.1f} | {100 * (1 - found.covers):.1f} | {100 * found.sign_wrong:.1f}"
            print(f"| {100 * found.seed_sd:.2f} | {seeds} | {shares} |", flush=True)
    for spread in (0.0, 0.03, 0.1):
        for seeds in (3, 5):
            share = simulate_many(METHODS, seeds, args.draws, spread)
            print(
                f"{METHODS} methods, spread {spread}, {seeds} seeds: all intervals cover in {100 * share:.1f} %",
                flush=True,
            )


if __name__ == "__main__":
    main()
