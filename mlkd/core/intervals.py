"""Confidence intervals of mAP and of differences of mAP, by the infinitesimal jackknife.

The influence of an image on mAP is the derivative of mAP with respect to the weight of that image.  The variance of mAP
is the sum of the products of influences over all pairs of images that depend on each other, the interval is a t
interval.  docs/statistics.md holds
the measured coverage; scripts/interval_simulation.py measures it.
"""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlkd.core.metrics import Bools, Floats, Scores, checked, masks, mean, mean_average_precision

Groups = Sequence[str | int | Sequence[str]] | NDArray[np.generic]
LONE = 1.5  # with fewer independent positives the spread between positives of one label is unknown


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

    Args:
        scores: (N, L), higher means more likely.
        targets: (N, L), true where the image has the label.
        groups: (N,), for each image one name, or a tuple of names.  Images that share a name depend on each other.
        known: (N, L), False where the target is unknown; None where all targets are known.
    """
    value = mean_average_precision(scores, targets, label_mask)
    return _interval(value, influence(scores, targets, groups, label_mask=label_mask), groups)


def difference_interval(
    scores_a: ArrayLike, scores_b: ArrayLike, targets: ArrayLike, groups: Groups, *, label_mask: ArrayLike | None = None
) -> Interval:
    """95 % confidence interval of mAP(a) - mAP(b) on the same images.  Arguments as of `map_interval`."""
    both = (scores_a, scores_b)
    values = [mean_average_precision(scores, targets, label_mask) for scores in both]
    parts = [influence(scores, targets, groups, label_mask=label_mask) for scores in both]
    return _interval(values[0] - values[1], parts[0] - parts[1], groups)


def influence(scores: ArrayLike, targets: ArrayLike, groups: Groups, *, label_mask: ArrayLike | None = None) -> Floats:
    """Influence of every image on mAP (N, 2): in total, and the part that related images have in common.

    The second column equals the first where every image has one name.  Where an image is composed of several named
    parts, the composition draws labels before parts: how often a label occurs then says nothing about its parts, so
    the second column is centred on the images with the label and on those without it.  Influences of two models on the
    same images may be subtracted and averaged.

    Raises:
        ValueError: unequal shapes, or scores that are nan.
    """
    score, target, mask = checked(scores, targets, label_mask)
    _check_length(groups, len(score))
    positive = target if mask is None else target & mask
    composed = _are_composed(groups)
    independent = _independent(positive, groups)
    # where images are composed, those without a label have parts in common as well; elsewhere they are very many
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
    near, related = _sums_of_related(np.stack([common, np.ones(len(common))], axis=1), groups).T
    if related.min() == len(common):
        return Variance(float("nan"), float("nan"))
    independent = float(np.dot(own, own))
    found = independent + float(np.dot(common, near - common))
    sums: dict[str, float] = defaultdict(float)
    shared: Counter[str] = Counter()
    for one, value in zip(groups, common.tolist(), strict=True):
        for name in set(_names(one)):
            sums[name] += value
            shared[name] += 1
    squares = np.array([value for name, value in sums.items() if shared[name] < len(groups)] or [own.sum()]) ** 2
    scatter = float((squares**2).sum() - squares.sum() ** 2 / len(squares))
    found = found if found > 0 else independent  # a sum over pairs may fall below 0
    freedom = 2 * float(squares.sum()) ** 2 / scatter if scatter > 0 else float("inf")
    return Variance(found, max(1.0, min(freedom, _freedom_of_few(found, sums, shared, groups))))


def _freedom_of_few(found: float, sums: Mapping[str, float], shared: Mapping[str, int], groups: Groups) -> float:
    """Degrees of freedom of the variance `found` if the most widely shared names of composed images vary alike."""
    if not _are_composed(groups):
        return float("inf")
    counted = ([name for name in _names(one) if shared[name] < len(groups)] for one in groups)
    widest = {max(names, key=lambda name: shared[name]) for names in counted if names}
    squares = sum(sums[name] ** 2 for name in widest)
    return (found / squares) ** 2 * max(1, len(widest) - 1) if squares > 0 else float("inf")


def half_width(variance: Variance) -> float:
    """Half of the 95 % t interval."""
    return t_quantile(variance.freedom) * float(np.sqrt(variance.value))


def t_quantile(freedom: float) -> float:
    """97.5 % quantile of Student's t, at least 1 degree: with t = sqrt(freedom) tan(angle) its density is
    cos(angle) ** (freedom - 1)."""
    freedom = min(freedom, 1e4)
    angle = np.linspace(0, np.pi / 2, 10_001)
    between = (angle[1:] + angle[:-1]) / 2
    share = np.concatenate([[0.0], np.cumsum(np.cos(between) ** (freedom - 1))])
    return float(np.sqrt(freedom) * np.tan(np.interp(0.95 * share[-1], share, angle)))


def _interval(value: float, influences: Floats, groups: Groups) -> Interval:
    half = float("nan") if np.isnan(value) else half_width(variance(influences, groups))
    return Interval(value, value - half, value + half)


def _label_influence(score: Scores, target: Bools, label_mask: Bools | None) -> tuple[float, Floats]:
    """AP of one label, and the derivative of AP with respect to the weight of each image (N,).

    AP = sum over positives p of hits(p) / seen(p) / P, where hits and seen are weights of positives and of images that
    score at least as high as p.
    """
    rows = np.arange(len(score)) if label_mask is None else np.flatnonzero(label_mask)
    image, positive = score[rows], np.flatnonzero(target[rows])
    found, count = np.zeros(len(score)), len(positive)
    if not count:
        return float("nan"), found
    ascending = np.sort(image[positive])
    not_above = np.searchsorted(ascending, image, side="right")  # (n,) positives that score at most as high
    last = np.searchsorted(ascending, ascending, side="right") - 1  # (P,) place of the last equal score
    hits = count - np.searchsorted(ascending, ascending, side="left")
    seen = len(image) - np.cumsum(np.bincount(not_above, minlength=count + 1))[last]
    ap = float((hits / seen).mean())
    one_more_seen = -np.concatenate([[0.0], np.cumsum(hits / seen**2)])[not_above]
    one_more_hit = np.concatenate([[0.0], np.cumsum(1 / seen)])[not_above[positive]]
    found[rows] = one_more_seen / count
    found[rows[positive]] += (one_more_hit + (hits / seen)[not_above[positive] - 1] - ap) / count
    return ap, found


def _two_parts(
    of_image: Floats,
    have: Bools,
    label_mask: Bools | None,
    counts: tuple[float, float],
    above_mean: float,
    composed: bool,
) -> Floats:
    """Total and common influence (N, 2) of one label, corrected for few independent positives and negatives (`counts`).

    Deviations of n values from their own mean are too small by n / (n - 1) in variance.  One value has no deviation:
    half of its squared distance to the mean of all labels stands for it, as if both were drawn alike.
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
    """How many independent images each label's `chosen` ones are (L,): n² over the number of related ordered pairs."""
    related = (chosen * _sums_of_related(chosen.astype(np.float64), groups)).sum(0)
    return np.asarray(chosen.sum(0) ** 2 / np.maximum(related, 1), dtype=np.float64)


def _sums_of_related(values: Floats, groups: Groups) -> Floats:
    """For each image the sum of `values` (N, C) over the images that share a name with it, itself included (N, C)."""
    if not _are_composed(groups):
        _, member = np.unique([_names(one)[0] for one in groups], return_inverse=True)
        order = np.argsort(member, kind="stable")
        starts = np.searchsorted(member[order], np.arange(member.max() + 1))
        return np.asarray(np.add.reduceat(values[order], starts, axis=0)[member], dtype=np.float64)
    related = _related(tuple(_names(one) for one in groups))
    return np.array([values[images].sum(0) for images in related], dtype=np.float64)


@functools.lru_cache(maxsize=2)  # all engines of a bench are measured on the same images
def _related(groups: tuple[tuple[str, ...], ...]) -> list[NDArray[np.int32]]:
    """For each image the images that share a name with it, itself included.

    A name that all images have, such as an only background, is left out: the variance is for test sets that have it.
    """
    images: dict[str, list[int]] = {}
    for at, names in enumerate(groups):
        for name in set(names):
            images.setdefault(name, []).append(at)
    members = {name: np.array(found, np.int32) for name, found in images.items()}
    found: list[NDArray[np.int32]] = []
    marked = np.zeros(len(groups), dtype=bool)
    for names in groups:
        for name in names:
            if len(members[name]) < len(groups):
                marked[members[name]] = True
        marked[len(found)] = True
        found.append(np.flatnonzero(marked).astype(np.int32))
        marked[:] = False
    return found


def _are_composed(groups: Groups) -> bool:
    return any(len(_names(one)) > 1 for one in groups)


def _names(one: object) -> tuple[str, ...]:
    return tuple(str(name) for name in one) if isinstance(one, (tuple, list, np.ndarray)) else (str(one),)


def _check_length(groups: Groups, images: int) -> None:
    if len(groups) != images:
        raise ValueError(f"groups: expected {images}, one for each image, got {len(groups)}")
    for at, one in enumerate(groups):
        if not _names(one):
            raise ValueError(f"groups: image {at} has no name; give each image one name at least, its own if need be")
