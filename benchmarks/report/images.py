"""The grid of test images: what is true, what the engine said, where engines disagree."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from benchmarks.report.rows import Facts, Row


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
class Mistake:
    """An image that an engine gets wrong in one label."""

    image: ShownImage
    missed: bool  # else found where it is not
    score: float | None
    threshold: float | None


Pool = Mapping[str, ShownImage]


def read_pool(bench: Facts) -> dict[str, ShownImage]:
    """Images by their id.  Raises ValueError for one that is no JPEG in base64."""
    return {
        str(key): _image(at, str(key), facts) for at, (key, facts) in enumerate((bench.get("images") or {}).items())
    }


def _image(at: int, key: str, facts: Facts) -> ShownImage:
    text, name = str(facts.get("jpeg_base64") or ""), str(facts.get("name"))
    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["JPEG"]) as opened:
            width, height = opened.size
    except (ValueError, OSError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"image {key} ({name}): expected a JPEG in base64, got {text[:20]!r}; run bench again"
        ) from error
    outlines = tuple(_outline(box) for box in facts.get("boxes") or ())
    return ShownImage(at, name, width, height, "data:image/jpeg;base64," + text, outlines)


def read_grid(bench: Facts, pool: Pool, chosen: Row | None) -> list[Shown]:
    """Images on which engines disagree first, else in the order of the bench."""
    shown = [_shown(entry, pool, chosen) for entry in bench.get("grid") or () if str(entry.get("image")) in pool]
    return sorted(shown, key=lambda one: -len(one.others))


def read_mistakes(bench: Facts, pool: Pool) -> dict[str, list[Mistake]]:
    """By label; images that the pool lacks are left out."""
    labels: dict[str, Sequence[Facts]] = (bench.get("mistakes") or {}).get("labels") or {}
    return {
        str(label): [
            Mistake(pool[str(one["image"])], one.get("kind") == "missed", one.get("score"), one.get("threshold"))
            for one in found or ()
            if str(one.get("image")) in pool
        ]
        for label, found in labels.items()
    }


def _shown(entry: Facts, pool: Pool, chosen: Row | None) -> Shown:
    engines: dict[str, Sequence[Sequence[object]]] = dict(entry.get("engines") or {})
    engine = chosen.name if chosen is not None and chosen.name in engines else next(iter(engines), "")
    said = {str(pair[0]): float(str(pair[1])) for pair in engines.get(engine, ())}
    true = [str(label) for label in entry.get("true") or ()]
    ranked = sorted(said.items(), key=lambda pair: -pair[1])
    return Shown(
        image=pool[str(entry.get("image"))],
        engine=engine,
        hit=[pair for pair in ranked if pair[0] in true],
        wrong=[pair for pair in ranked if pair[0] not in true],
        missed=[label for label in true if label not in said],
        others=_disagreements(engines, engine, set(said)),
    )


def _disagreements(
    engines: dict[str, Sequence[Sequence[object]]], engine: str, said: set[str]
) -> list[tuple[str, list[str], list[str]]]:
    """Engines that differ alike are told together."""
    alike: dict[frozenset[str], list[str]] = {}
    for name, pairs in engines.items():
        if name != engine:
            alike.setdefault(frozenset(str(pair[0]) for pair in pairs), []).append(str(name))
    named = {
        labels: "all others" if len(alike) == 1 < len(names) else ", ".join(names) for labels, names in alike.items()
    }
    return [(told, sorted(labels - said), sorted(said - labels)) for labels, told in named.items() if labels != said]


def _outline(box: Sequence[object]) -> Outline:
    """[label, x0, y0, x1, y1, role] with corners in 0..1, cut to the image."""
    x0, y0, x1, y1 = (100 * min(max(float(str(value)), 0.0), 1.0) for value in box[1:5])
    return Outline(str(box[0]), round(x0, 2), round(y0, 2), round(x1 - x0, 2), round(y1 - y0, 2), box[5] == "major")
