"""Measure how often 95 % intervals of mAP cover the mean of the estimates: `python -m scripts.interval_simulation`.

Every draw is a new test set: new images, new groups, and where scenes are composed new cut-outs and backgrounds.  An
interval covers if it contains the mean of all draws' estimates.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from mlkd.core.groups import Groups
from mlkd.core.intervals import half_width, influence, variance
from mlkd.core.metrics import average_precision, mean_average_precision

NORMAL = NormalDist()
NORMAL_95 = NORMAL.inv_cdf(0.975)
REPLICATES = 200
CUTOUTS_A_SCENE = (0.2, 0.2, 0.18, 0.14, 0.1, 0.08, 0.06, 0.04)  # shares of scenes with 1 to 8


@dataclass(frozen=True)
class TestSet:
    """Scores (N, L) of two models on the same images."""

    a: np.ndarray
    b: np.ndarray
    targets: np.ndarray
    groups: Groups
    label_mask: np.ndarray | None = None


@dataclass(frozen=True)
class Coverage:
    """Shares of draws: the interval covers the mean of the estimates; it contains its own estimate."""

    covers: float
    own: float
    width: float  # mean half width over 1.96 standard deviations of the estimates


def long_tail(
    rng: np.random.Generator,
    images: int = 800,
    labels: int = 80,
    prevalence: tuple[float, float] = (0.003, 0.5),
    group: int = 1,
    unknown: float = 0.0,
) -> TestSet:
    """Photographs in groups of about `group` look-alikes, whose labels and scores are correlated; b is a little worse.

    Every third label has no unknown targets, every third has a share `unknown`, every third twice that.
    """
    member = rng.integers(0, images // group, images) if group > 1 else np.arange(images)
    alike = 0.7 if group > 1 else 0.0

    def noise() -> np.ndarray:
        own, common = (rng.standard_normal((count, labels)) for count in (images, member.max() + 1))
        return alike * common[member] + np.sqrt(1 - alike**2) * own

    thresholds = np.array([NORMAL.inv_cdf(1 - share) for share in np.geomspace(*prevalence, labels)])
    targets = noise() > thresholds
    gap = np.random.default_rng(5).uniform(1.0, 2.5, labels)  # of the labels, equal in every draw
    base = noise() + 0.5 * rng.standard_normal((images, 1))
    a, b = (base + shift * targets + 0.5 * rng.standard_normal((images, labels)) for shift in (gap, gap - 0.1))
    label_mask = rng.random((images, labels)) >= unknown * (np.arange(labels) % 3) if unknown else None
    return TestSet(a, b, targets, member, label_mask)


def scenes(
    rng: np.random.Generator, images: int = 600, labels: int = 30, cutouts: int = 10, backgrounds: int = 15
) -> TestSet:
    """Composed scenes of 1 to 8 cut-outs of distinct labels on a background; some cut-outs are hard, some mislead."""
    counts = 1 + rng.choice(8, images, p=CUTOUTS_A_SCENE)
    targets = rng.random((images, labels)).argsort(1).argsort(1) < counts[:, None]
    cutout, background = rng.integers(0, cutouts, (images, labels)), rng.integers(0, backgrounds, images)
    hard, harder = (sd * rng.standard_normal((labels, cutouts)) for sd in (0.7, 0.3))
    behind, behind_b = (sd * rng.standard_normal((backgrounds, labels))[background] for sd in (0.4, 0.2))
    gap, place = np.random.default_rng(5).uniform(1.5, 3.0, labels), np.arange(labels)
    base = behind + rng.standard_normal((images, labels)) + targets * (gap + hard[place, cutout])
    for label in range(labels):
        misleads = 0.3 * rng.standard_normal((cutouts, labels))
        base += targets[:, label, None] * misleads[cutout[:, label]]
    a, b = (base + 0.4 * rng.standard_normal((images, labels)) for _ in range(2))
    b += behind_b + targets * (harder[place, cutout] - 0.1)
    parts = [[f"{label}.{cutout[at, label]}" for label in np.flatnonzero(targets[at])] for at in range(images)]
    groups = [(*names, f"background {behind}") for names, behind in zip(parts, background, strict=True)]
    return TestSet(a, b, targets, groups)


CASES: Mapping[str, Callable[[np.random.Generator], TestSet]] = {
    "30 labels, scenes of 1 to 8 cut-outs and a background, 600 images": scenes,
    "the same with 4 backgrounds": lambda rng: scenes(rng, backgrounds=4),
    "30 labels, prevalence 0.3 to 0.01, 200 images": lambda rng: long_tail(rng, 200, 30, (0.01, 0.3)),
    "80 labels, prevalence 0.5 to 0.003, 800 images": long_tail,
    "the same in groups of about 4": lambda rng: long_tail(rng, group=4),
    "the same with 0, 40 and 80 % unknown": lambda rng: long_tail(rng, unknown=0.4),
    "260 labels, prevalence 0.1 to 0.002, 800 images": lambda rng: long_tail(rng, 800, 260, (0.002, 0.1)),
}

Ends = tuple[float, float]
Form = Callable[[TestSet, np.random.Generator], Iterator[tuple[str, str, float, Ends]]]


def chosen_form(test: TestSet, _: np.random.Generator) -> Iterator[tuple[str, str, float, Ends]]:
    """(form, "one" or "difference", estimate, interval) of mlkd.core.intervals, and where scenes are composed
    of simpler groups.
    """
    groups = {"chosen": test.groups}
    if isinstance(test.groups, list):
        groups |= {"by one cut-out": [names[0] for names in test.groups], "by image": range(len(test.a))}
    for form, given in groups.items():
        a, b = (influence(scores, test.targets, given, label_mask=test.label_mask) for scores in (test.a, test.b))
        for what, value, influences in zip(("one", "difference"), _values(test), (a, a - b), strict=True):
            half = half_width(variance(influences, given))
            yield form, what, value, (value - half, value + half)


def bootstrap_forms(test: TestSet, rng: np.random.Generator) -> Iterator[tuple[str, str, float, Ends]]:
    """The forms that were not chosen.  Only for one name an image."""
    member, values = np.unique(test.groups, return_inverse=True)[1], _values(test)
    count = int(member.max()) + 1
    whole = _both([rng.multinomial(count, np.full(count, 1 / count))[member] for _ in range(REPLICATES)], test)
    halves = _both([(rng.permutation(count) < count // 2)[member] for _ in range(REPLICATES)], test)
    influences = [
        influence(scores, test.targets, test.groups, label_mask=test.label_mask)[:, 0] for scores in (test.a, test.b)
    ]
    jackknifed = _both([member != one for one in range(count)], test)
    for at, (what, value) in enumerate(zip(("one", "difference"), values, strict=True)):
        low, high = np.quantile(whole[at], [0.025, 0.975])
        yield "percentile bootstrap", what, value, (low, high)
        yield "basic bootstrap", what, value, (2 * value - high, 2 * value - low)
        of_group = np.bincount(member, influences[0] - at * influences[1])
        skew = float((of_group**3).sum() / (6 * (of_group**2).sum() ** 1.5))
        for form, acceleration in (("bias-corrected bootstrap", 0.0), ("BCa bootstrap", skew)):
            yield form, what, value, _corrected(value, whole[at], acceleration)
        for form, deviations in (
            ("m-out-of-n bootstrap (half of the groups)", np.std(halves[at])),
            ("jackknife", np.std(jackknifed[at]) * np.sqrt(count - 1)),
        ):
            yield form, what, value, (value - NORMAL_95 * deviations, value + NORMAL_95 * deviations)


def _corrected(value: float, drawn: np.ndarray, acceleration: float) -> Ends:
    """Bias-corrected (and accelerated) interval, Efron 1987."""
    share = float(np.clip((drawn < value).mean(), 1 / len(drawn), 1 - 1 / len(drawn)))
    bias = NORMAL.inv_cdf(share)
    ends = []
    for z in (bias - NORMAL_95, bias + NORMAL_95):
        ends.append(np.quantile(drawn, NORMAL.cdf(bias + z / (1 - acceleration * z))))
    return ends[0], ends[1]


def _both(weights: list[np.ndarray], test: TestSet) -> np.ndarray:
    """mAP of a and mAP of a - b with the images so often in the test set (2, R)."""
    a, b = (_weighted_maps(scores, weights, test) for scores in (test.a, test.b))
    return np.stack([a, a - b])


def _weighted_maps(scores: np.ndarray, weights: list[np.ndarray], test: TestSet) -> np.ndarray:
    """mAP with whole weights of the images, for each of `weights` (N,)."""
    label_mask = np.ones(test.targets.shape, dtype=bool) if test.label_mask is None else test.label_mask
    weight = np.stack(weights).astype(np.float64)  # (R, N)
    by_label = []
    for label in range(scores.shape[1]):
        order = np.argsort(-scores[:, label])
        order = order[label_mask[order, label]]
        places = np.flatnonzero(test.targets[order, label])
        mine, seen = weight[:, order[places]], np.cumsum(weight[:, order], axis=1)[:, places]
        total = mine.sum(1)
        precision = np.cumsum(mine, axis=1) / np.maximum(seen, 1)
        by_label.append(np.where(total > 0, (mine * precision).sum(1) / np.maximum(total, 1), np.nan))
    return np.nanmean(by_label, axis=0)


def _values(test: TestSet) -> tuple[float, float]:
    a, b = (mean_average_precision(scores, test.targets, test.label_mask) for scores in (test.a, test.b))
    return a, a - b


def simulate(
    draw: Callable[[np.random.Generator], TestSet], form: Form, draws: int, seed: int = 0
) -> dict[tuple[str, str], Coverage]:
    """Coverage for each form and each of "one" and "difference"."""
    found: dict[tuple[str, str], list[tuple[float, float, float]]] = defaultdict(list)
    for at in range(draws):
        rng = np.random.default_rng([seed, at])
        for name, what, value, (low, high) in form(draw(rng), rng):
            found[name, what].append((value, low, high))
    result = {}
    for key, rows in found.items():
        value, low, high = np.array(rows).T
        center, spread = value.mean(), NORMAL_95 * value.std(ddof=1)
        covers, own = (low <= center) & (center <= high), (low <= value) & (value <= high)
        result[key] = Coverage(float(covers.mean()), float(own.mean()), float((high - low).mean() / 2 / spread))
    return result


def optimism(draws: int, large: int = 100_000) -> list[tuple[str, float, float]]:
    """By expected positives in 800 images: mean AP there and in a large test set."""
    expected, truth = np.geomspace(0.003, 0.5, 80) * 800, np.random.default_rng(9)
    small = [
        average_precision(one.a, one.targets) for one in (long_tail(np.random.default_rng(at)) for at in range(draws))
    ]
    many = long_tail(truth, large)
    aps = np.nanmean(small, axis=0), average_precision(many.a, many.targets)
    bounds = ((0, 5), (5, 10), (10, 20), (20, 50), (50, 400), (0, 400))
    rows = []
    for low, high in bounds:
        chosen = (low <= expected) & (expected <= high)
        rows.append((f"{low} to {high}", float(aps[0][chosen].mean()), float(aps[1][chosen].mean())))
    return rows


def main() -> None:
    """Print the tables of docs/statistics.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--only", default="", help="cases whose name contains this; AP: how optimistic AP is")
    parser.add_argument("--forms", action="store_true", help="also the forms that were not chosen (slow)")
    args = parser.parse_args()
    for case, draw in CASES.items():
        if args.only not in case:
            continue
        for form in (chosen_form, bootstrap_forms) if args.forms and case not in (*CASES,)[:2] else (chosen_form,):
            found = simulate(draw, form, args.draws)
            for name in dict.fromkeys(name for name, _ in found):
                one, two = found[name, "one"], found[name, "difference"]
                cells = [f"{100 * x:.1f}" for x in (one.covers, one.own, two.covers, two.own)]
                widths = [f"{x.width:.2f}" for x in (one, two)]
                print(f"| {case} | {name} | {args.draws} | {' | '.join(cells + widths)} |", flush=True)
    for count, few, many in optimism(args.draws) if "AP".startswith(args.only) else ():
        print(f"| {count} | {100 * few:.1f} | {100 * many:.1f} | {100 * (few - many):+.1f} |", flush=True)


if __name__ == "__main__":
    main()
