"""Confidence intervals of mAP and of differences of mAP, by the infinitesimal jackknife.

The influence of an image on mAP is the derivative of mAP with respect to the weight of that image.  The variance of mAP
is the sum of the products of influences over all pairs of images that depend on each other; the interval is a t
interval.  docs/statistics.md has the coverage that scripts/interval_simulation.py measured.
"""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mlkd.core.groups import Groups, are_composed, check_length, names_of, sums_of_related
from mlkd.core.metrics import Bools, Floats, Scores, checked, masks, mean, mean_average_precision

LONE = 1.5  # with fewer independent positives their spread within a label is unknown


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % confidence interval."""

    value: float
    low: float
    high: float


def map_interval(
    scores: ArrayLike, targets: ArrayLike, groups: Groups, *, label_mask: ArrayLike | None = None
) -> Interval:
    """95 % confidence interval of mAP, as a fraction; nan if no label has a positive.

    `groups` (N,) has for each image one name, or a tuple of names: images that share a name depend on each other.
    The other arguments are those of `metrics.average_precision`.
    """
    value = mean_average_precision(scores, targets, label_mask)
    return _interval(value, influence(scores, targets, groups, label_mask=label_mask), groups, lowest=0.0)


def difference_interval(
    scores_a: ArrayLike, scores_b: ArrayLike, targets: ArrayLike, groups: Groups, *, label_mask: ArrayLike | None = None
) -> Interval:
    """95 % confidence interval of mAP(a) - mAP(b) on the same images.  Arguments as of `map_interval`."""
    both = (scores_a, scores_b)
    values = [mean_average_precision(scores, targets, label_mask) for scores in both]
    parts = [influence(scores, targets, groups, label_mask=label_mask) for scores in both]
    return _interval(values[0] - values[1], parts[0] - parts[1], groups, lowest=-1.0)


def influence(scores: ArrayLike, targets: ArrayLike, groups: Groups, *, label_mask: ArrayLike | None = None) -> Floats:
    """Influence of every image on mAP (N, 2): in total, and the part that related images have in common.

    The second column equals the first where every image has one name.  Images of several named parts draw labels before
    parts, so the frequency of a label says nothing about its parts: the second column is centred on the images with the
    label and on those without it.  Influences of two models on the same images may be subtracted and averaged.

    Raises:
        ValueError: unequal shapes, or scores that are nan.
    """
    score, target, mask = checked(scores, targets, label_mask)
    check_length(groups, len(score))
    positive = target if mask is None else target & mask
    composed = are_composed(groups)
    independent = _independent(positive, groups)
    # images of several parts share parts without the label too; else images without a label are very many
    negative = ~target if mask is None else ~target & mask
    others = _independent(negative, groups) if composed else np.full(len(independent), np.inf)
    columns = zip(np.ascontiguousarray(score.T), np.ascontiguousarray(target.T), masks(mask, score), strict=True)
    labels = [_label_influence(*column) for column in columns]
    average, counted = mean(np.array([ap for ap, _ in labels])), max(1, int(positive.any(0).sum()))
    total = np.zeros((len(score), 2))
    for label, (ap, of_image) in enumerate(labels):
        if not np.isnan(ap):
            have, rows = positive[:, label], None if mask is None else mask[:, label]
            counts = (independent[label], others[label])
            total += _two_parts(of_image, have, rows, counts, ap - average, composed) / counted
    return total


@dataclass(frozen=True)
class Variance:
    """Estimated variance of a value, and the degrees of freedom of the estimate: few where a few groups dominate."""

    value: float
    freedom: float


def variance(influences: Floats, groups: Groups) -> Variance:
    """Variance of the value whose influences (N, 2) these are; nan where all images depend on each other.

    The degrees of freedom are those of Satterthwaite (1946): for a sum of squares, one for each name; or, if there are
    fewer, for parts of the variance that come from few names, such as four backgrounds.
    """
    own, common = influences[:, 0], influences[:, 1]
    near, related = sums_of_related(np.stack([common, np.ones(len(common))], axis=1), groups).T
    if related.min() == len(common):
        return Variance(float("nan"), float("nan"))
    independent = float(np.dot(own, own))
    total = independent + float(np.dot(common, near - common))
    sums: dict[str, float] = defaultdict(float)
    shared: Counter[str] = Counter()
    for group, value in zip(groups, common.tolist(), strict=True):
        for name in set(names_of(group)):
            sums[name] += value
            shared[name] += 1
    squares = np.array([value for name, value in sums.items() if shared[name] < len(groups)] or [own.sum()]) ** 2
    scatter = float((squares**2).sum() - squares.sum() ** 2 / len(squares))
    total = total if total > 0 else independent  # a sum over pairs may be negative
    freedom = 2 * float(squares.sum()) ** 2 / scatter if scatter > 0 else float("inf")
    return Variance(total, max(1.0, min(freedom, _freedom_of_few(total, sums, shared, groups))))


def _freedom_of_few(total: float, sums: Mapping[str, float], shared: Mapping[str, int], groups: Groups) -> float:
    """Degrees of freedom of the variance `total` if the most widely shared names of composed images vary alike."""
    if not are_composed(groups):
        return float("inf")
    counted = ([name for name in names_of(group) if shared[name] < len(groups)] for group in groups)
    widest = {max(names, key=lambda name: shared[name]) for names in counted if names}
    squares = sum(sums[name] ** 2 for name in widest)
    return (total / squares) ** 2 * max(1, len(widest) - 1) if squares > 0 else float("inf")


def half_width(variance: Variance, confidence: float = 0.95) -> float:
    """Half the width of the t interval."""
    return t_quantile(variance.freedom, confidence) * float(np.sqrt(variance.value))


def t_quantile(freedom: float, confidence: float = 0.95) -> float:
    """The t below which Student's |t|, of at least 1 degree, lies with this confidence.

    With t = sqrt(freedom) tan(angle) its density is cos(angle) ** (freedom - 1).
    """
    freedom = min(freedom, 1e4)
    angle = np.linspace(0, np.pi / 2, 10_001)
    between = (angle[1:] + angle[:-1]) / 2
    share = np.concatenate([[0.0], np.cumsum(np.cos(between) ** (freedom - 1))])
    return float(np.sqrt(freedom) * np.tan(np.interp(confidence * share[-1], share, angle)))


def _interval(value: float, influences: Floats, groups: Groups, *, lowest: float) -> Interval:
    """The interval around the value, within the values that are possible: `lowest` to 1."""
    half = float("nan") if np.isnan(value) else half_width(variance(influences, groups))
    low, high = np.clip([value - half, value + half], lowest, 1.0).tolist()
    return Interval(value, low, high)


def _label_influence(score: Scores, target: Bools, label_mask: Bools | None) -> tuple[float, Floats]:
    """AP of one label, and the derivative of AP with respect to the weight of each image (N,).

    AP = sum over positives p of hits(p) / seen(p) / P, with the numbers of positives (hits) and of images (seen) that
    score at least as high as p.
    """
    rows = np.arange(len(score)) if label_mask is None else np.flatnonzero(label_mask)
    image, positive = score[rows], np.flatnonzero(target[rows])
    influences, count = np.zeros(len(score)), len(positive)
    if not count:
        return float("nan"), influences
    ascending = np.sort(image[positive])
    not_above = np.searchsorted(ascending, image, side="right")  # (n,) positives that score at most as high
    last = np.searchsorted(ascending, ascending, side="right") - 1  # (P,) place of the last equal score
    hits = count - np.searchsorted(ascending, ascending, side="left")
    seen = len(image) - np.cumsum(np.bincount(not_above, minlength=count + 1))[last]
    ap = float((hits / seen).mean())
    one_more_seen = -np.concatenate([[0.0], np.cumsum(hits / seen**2)])[not_above]
    one_more_hit = np.concatenate([[0.0], np.cumsum(1 / seen)])[not_above[positive]]
    influences[rows] = one_more_seen / count
    influences[rows[positive]] += (one_more_hit + (hits / seen)[not_above[positive] - 1] - ap) / count
    return ap, influences


def _two_parts(
    of_image: Floats,
    have: Bools,
    label_mask: Bools | None,
    counts: tuple[float, float],
    above_mean: float,
    composed: bool,
) -> Floats:
    """Total and common influence (N, 2) of one label, corrected for few independent positives and negatives (`counts`).

    The variance of n deviations from their own mean is too small by n / (n - 1).  A single value has no deviation: half
    of its squared distance to the mean of all labels replaces it.
    """
    level = np.zeros_like(of_image)
    if composed:
        without = ~have if label_mask is None else label_mask & ~have
        for part in (have, without):
            level[part] = of_image[part].mean() if part.any() else 0.0
    common, (with_label, without_label) = of_image - level, counts
    if with_label < LONE:
        common = common + have * (above_mean / np.sqrt(2) / have.sum())
    else:
        among = np.where(have | (not composed), with_label, max(without_label, LONE))
        common = common * np.sqrt(1 + 1 / (among - 1))
    return np.stack([level + common, common], axis=1)


def _independent(chosen: Bools, groups: Groups) -> Floats:
    """The effective number (L,) of independent `chosen` images: n² over the number of related ordered pairs."""
    return _independent_of(chosen.tobytes(), chosen.shape[1], tuple(names_of(group) for group in groups))


@functools.lru_cache(maxsize=4)  # all engines of a bench have the same targets
def _independent_of(chosen: bytes, labels: int, groups: tuple[tuple[str, ...], ...]) -> Floats:
    images = np.frombuffer(chosen, dtype=bool).reshape(-1, labels)
    related = (images * sums_of_related(images.astype(np.float64), groups)).sum(0)
    return np.asarray(images.sum(0) ** 2 / np.maximum(related, 1), dtype=np.float64)
