"""AP of each label against scikit-learn, and the interval of mAP against a bootstrap of it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score

from mlkd.core.intervals import map_interval
from mlkd.core.metrics import average_precision
from scripts.speed.ratio import Ratio, Way, seconds

IMAGES, LABELS, POSITIVE = 40_000, 80, 0.04  # of COCO
RESAMPLES = 1000

RATIOS = (
    Ratio(what="AP of 40,000 × 80: scikit-learn ÷ ours", top=("AP, scikit-learn",), bottom=("AP",), limit=3),
    Ratio(
        what="Interval of that mAP: bootstrap of 1,000 ÷ ours",
        top=("bootstrap",),
        bottom=("interval of mAP",),
        limit=10,
    ),
)


def ways(_: Path) -> dict[str, Way]:
    rng = np.random.default_rng(0)
    targets = rng.random((IMAGES, LABELS)) < POSITIVE
    noise = rng.standard_normal((IMAGES, LABELS))
    scores = (1 / (1 + np.exp(3 - 2 * targets - noise))).astype(np.float32)

    def resample() -> None:
        rows = rng.integers(0, IMAGES, IMAGES)
        average_precision(scores[rows], targets[rows])

    return {
        "AP": partial(seconds, lambda: average_precision(scores, targets), 3),
        "AP, scikit-learn": partial(seconds, lambda: average_precision_score(targets, scores, average=None)),
        "interval of mAP": partial(seconds, lambda: map_interval(scores, targets, np.arange(IMAGES)), 3),
        "bootstrap": lambda: RESAMPLES * seconds(resample, 3),
    }
