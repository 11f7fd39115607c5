"""The grid of test images: true labels, labels of the engine, and where engines disagree."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from benchmarks.report.rows import ReportRow
from benchmarks.sections import GridEntry, Mistakes, PageImage


@dataclass(frozen=True)
class Outline:
    label: str
    left: float  # percent of the image, as the others
    top: float
    width: float
    height: float
    major: bool


@dataclass(frozen=True)
class ShownImage:
    """One of the pool, which the page holds once; `at` names it there whatever its own name holds."""

    at: int
    name: str
    width: int
    height: int
    address: str  # data: address of the JPEG
    outlines: tuple[Outline, ...]


@dataclass(frozen=True)
class Shown:
    """One image of the grid; hit and wrong with their scores, missed without."""

    image: ShownImage
    engine: str
    hit: list[tuple[str, float]]
    wrong: list[tuple[str, float]]
    missed: list[str]
    others: list[tuple[str, list[str], list[str]]]  # engines, labels they add, labels they drop


@dataclass(frozen=True)
class ShownMistake:
    """An image that an engine gets wrong in one label."""

    image: ShownImage
    missed: bool  # else the engine says a label that is not in the image
    score: float | None
    threshold: float | None


Pool = Mapping[str, ShownImage]


def read_pool(images: Mapping[str, PageImage]) -> dict[str, ShownImage]:
    """Return images by their id; ValueError for one that is no JPEG in base64."""
    return {key: _image(at, key, image) for at, (key, image) in enumerate(images.items())}


def _image(at: int, key: str, image: PageImage) -> ShownImage:
    text = image.jpeg_base64
    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["JPEG"]) as opened:
            width, height = opened.size
    except (ValueError, OSError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"image {key} ({image.name}): expected a JPEG in base64, got {text[:20]!r}; run bench again"
        ) from error
    outlines = tuple(_outline(*box) for box in image.boxes)
    return ShownImage(at, image.name, width, height, "data:image/jpeg;base64," + text, outlines)


def read_grid(grid: Sequence[GridEntry], pool: Pool, chosen: ReportRow | None) -> list[Shown]:
    """Return images on which engines disagree first, else in the order of the report."""
    shown = [_shown(entry, pool, chosen) for entry in grid if entry.image in pool]
    return sorted(shown, key=lambda image: -len(image.others))


def read_mistakes(mistakes: Mistakes | None, pool: Pool) -> dict[str, list[ShownMistake]]:
    """Return mistakes by label; images that the pool lacks are left out."""
    if mistakes is None:
        return {}
    return {
        label: [
            ShownMistake(pool[mistake.image], mistake.kind == "missed", mistake.score, mistake.threshold)
            for mistake in of_label
            if mistake.image in pool
        ]
        for label, of_label in mistakes.labels.items()
    }


def _shown(entry: GridEntry, pool: Pool, chosen: ReportRow | None) -> Shown:
    engine = chosen.name if chosen is not None and chosen.name in entry.engines else next(iter(entry.engines), "")
    scores = dict(entry.engines.get(engine, ()))
    ranked = sorted(scores.items(), key=lambda pair: -pair[1])
    return Shown(
        image=pool[entry.image],
        engine=engine,
        hit=[pair for pair in ranked if pair[0] in entry.true],
        wrong=[pair for pair in ranked if pair[0] not in entry.true],
        missed=[label for label in entry.true if label not in scores],
        others=_disagreements(entry.engines, engine, set(scores)),
    )


def _disagreements(
    engines: Mapping[str, Sequence[tuple[str, float]]], engine: str, own: set[str]
) -> list[tuple[str, list[str], list[str]]]:
    """Return what other engines add and drop; engines that agree with each other share an entry."""
    alike: dict[frozenset[str], list[str]] = {}
    for name, pairs in engines.items():
        if name != engine:
            alike.setdefault(frozenset(label for label, _ in pairs), []).append(name)
    named = {
        labels: "all others" if len(alike) == 1 < len(names) else ", ".join(names) for labels, names in alike.items()
    }
    return [(names, sorted(labels - own), sorted(own - labels)) for labels, names in named.items() if labels != own]


def _outline(label: str, *place: Any) -> Outline:
    """Turn corners in 0..1 into percent, cut to the image."""
    *corners, role = place
    x0, y0, x1, y1 = (100 * min(max(corner, 0.0), 1.0) for corner in corners)
    return Outline(label, round(x0, 2), round(y0, 2), round(x1 - x0, 2), round(y1 - y0, 2), role == "major")
