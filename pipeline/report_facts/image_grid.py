"""Test images for the page: true labels, labels of every engine, and the mistakes of one engine in each label."""

from __future__ import annotations

import base64
import io
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.report.recommendation import NO_LIMITS, Limits, recommend
from benchmarks.report.rows import place
from benchmarks.schema import Row
from benchmarks.sections import GridEntry, Mistake, Mistakes, PageImage
from export.bundle.manifest import Manifest
from mlkd.core import images
from mlkd.data.prepared import Split

SHOWN = 18
SIDE_PX, SMALL_PX = 192, 128  # in the grid, among the mistakes
MISTAKES = 6  # a label
MOST_MISTAKES = 360  # of all labels, so that the page stays below about 4 MB

Kind = Literal["missed", "wrong"]
Decided = Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]]  # engine -> scores (N, L), thresholds (L,)


@dataclass(frozen=True)
class PageImages:
    """The parts `images`, `grid` and `mistakes` of a report."""

    images: dict[str, PageImage]
    grid: list[GridEntry]
    mistakes: Mistakes


def grid(
    test: Split, manifest: Manifest, rows: Sequence[Row], scores: Path, *, seed: int, budget: Limits = NO_LIMITS
) -> PageImages:
    """Choose the images of the page; `scores` holds ENGINE.npy (N, L) of the first device in `rows`.

    Half of the grid are images that engines disagree on, the rest are any.  Mistakes are those of the engine to
    deploy; where it has no scores, of the first that has.
    """
    decided = _read_scores(manifest, scores)
    choice = recommend([row for row in place(rows) if row.device == rows[0].device], budget)
    engine = choice.chosen.name if choice else None
    chosen = choose([values >= thresholds for values, thresholds in decided.values()], len(test), seed)
    named = engine if engine in decided else next(iter(decided), None)
    wrong = mistakes(*decided[named], test.targets, test.label_mask) if named is not None else {}
    names = test.labels.names
    by_label = {
        names[label]: [
            Mistake(image=str(row), kind=kind, score=score, threshold=float(decided[named][1][label]))
            for row, kind, score in found
        ]
        for label, found in wrong.items()
        if named is not None
    }
    return PageImages(
        images=_pool(test, chosen, [row for found in wrong.values() for row, _, _ in found]),
        grid=[_entry(test, row, decided) for row in chosen],
        mistakes=Mistakes(engine=named, labels=by_label),
    )


def choose(decisions: list[NDArray[np.bool_]], count: int, seed: int) -> list[int]:
    """Up to SHOWN rows: first those with unequal decisions (N, L), at most half of all, then any others."""
    order = random.Random(seed).sample(range(count), count)
    split = np.zeros(count, dtype=bool)
    for decided in decisions[1:]:
        split |= (decided != decisions[0]).any(1)
    unequal = [row for row in order if split[row]][: SHOWN // 2]
    return (unequal + [row for row in order if row not in unequal])[:SHOWN]


def mistakes(
    scores: NDArray[np.float32],
    thresholds: NDArray[np.float32],
    targets: NDArray[np.uint8],
    label_mask: NDArray[np.bool_] | None,
) -> dict[int, list[tuple[int, Kind, float]]]:
    """By label up to MISTAKES images decided wrongly as (row, "missed" or "wrong", score), the surest mistake first.

    scores and targets (N, L), thresholds (L,); half of a label's are missed and half wrong where there are both.
    Where labels are more than MOST_MISTAKES, those with the most mistakes are kept.
    """
    each = max(1, min(MISTAKES, MOST_MISTAKES // max(1, targets.shape[1])))
    decided, true = scores >= thresholds, targets.astype(bool)
    judged = np.ones_like(true) if label_mask is None else label_mask
    found = {}
    for label in range(targets.shape[1]):
        by_score = np.argsort(scores[:, label], kind="stable")
        missed = [row for row in by_score if true[row, label] and not decided[row, label] and judged[row, label]]
        wrong = [row for row in by_score[::-1] if decided[row, label] and not true[row, label] and judged[row, label]]
        first = max(each - each // 2, each - len(wrong))
        kinds: list[tuple[int, Kind]] = [(row, "missed") for row in missed[:first]]
        kinds += [(row, "wrong") for row in wrong[: each - len(kinds)]]
        if kinds:
            found[label] = [(int(row), kind, float(scores[row, label])) for row, kind in kinds]
    errors = ((decided != true) & judged).sum(0)
    kept = sorted(found, key=lambda label: (-errors[label], label))[:MOST_MISTAKES]
    return {label: found[label] for label in sorted(kept)}


def _read_scores(manifest: Manifest, scores: Path) -> Decided:
    decided = {}
    for engine in manifest.engines:
        file = scores / f"{engine.name}.npy"
        if file.is_file():
            values: NDArray[np.float32] = np.load(file)
            decided[engine.name] = values, np.asarray(engine.thresholds, dtype=np.float32)
    return decided


def _pool(test: Split, shown: Iterable[int], wrong: Iterable[int]) -> dict[str, PageImage]:
    """Every image once, by its row in the test split; those that are only mistakes smaller."""
    sides = {**dict.fromkeys(wrong, SMALL_PX), **dict.fromkeys(shown, SIDE_PX)}
    names = test.labels.names
    return {
        str(row): PageImage(
            name=test.names[row],
            jpeg_base64=base64.b64encode(_jpeg(test.files[row], sides[row])).decode("ascii"),
            boxes=[(names[box.label], box.x0, box.y0, box.x1, box.y1, box.role) for box in test.boxes[row]],
        )
        for row in sorted(sides)
    }


def _entry(test: Split, row: int, decided: Decided) -> GridEntry:
    names = test.labels.names
    return GridEntry(
        image=str(row),
        true=[names[label] for label in np.flatnonzero(test.targets[row])],
        engines={
            engine: [(names[label], float(scores[row, label])) for label in np.flatnonzero(scores[row] >= thresholds)]
            for engine, (scores, thresholds) in decided.items()
        },
    )


def _jpeg(file: Path, side_px: int) -> bytes:
    """Small enough for a page, in the image's own proportions."""
    image = images.decode(file, side_px)
    image.thumbnail((side_px, side_px))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85)
    return stream.getvalue()
