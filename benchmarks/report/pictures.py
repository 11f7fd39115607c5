"""The grid of test pictures: what is true, what the engine said, where engines disagree."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.report.rows import Facts, Row


@dataclass(frozen=True)
class Outline:
    label: str
    left: float  # percent of the picture, as the others
    top: float
    width: float
    height: float
    major: bool


@dataclass(frozen=True)
class Shown:
    """One picture; hit and wrong with their scores, missed without."""

    name: str
    address: str  # data: address of the JPEG
    engine: str
    hit: list[tuple[str, float]]
    wrong: list[tuple[str, float]]
    missed: list[str]
    others: list[tuple[str, list[str], list[str]]]  # engine, labels it adds, labels it drops
    outlines: list[Outline]


def read_pictures(bench: Facts, chosen: Row | None) -> list[Shown]:
    """Pictures on which engines disagree first, else in the order of the bench.

    Raises ValueError if a picture is not base64.
    """
    shown = [_shown(entry, chosen) for entry in bench.get("grid") or ()]
    return sorted(shown, key=lambda picture: -len(picture.others))


def _shown(entry: Facts, chosen: Row | None) -> Shown:
    engines: dict[str, Sequence[Sequence[object]]] = dict(entry.get("engines") or {})
    engine = chosen.name if chosen is not None and chosen.name in engines else next(iter(engines), "")
    said = {str(pair[0]): float(str(pair[1])) for pair in engines.get(engine, ())}
    true = [str(label) for label in entry.get("true") or ()]
    ranked = sorted(said.items(), key=lambda pair: -pair[1])
    return Shown(
        name=str(entry.get("name")),
        address="data:image/jpeg;base64," + _checked(entry),
        engine=engine,
        hit=[pair for pair in ranked if pair[0] in true],
        wrong=[pair for pair in ranked if pair[0] not in true],
        missed=[label for label in true if label not in said],
        others=_disagreements(engines, engine, set(said)),
        outlines=[_outline(box) for box in entry.get("boxes") or ()],
    )


def _checked(entry: Facts) -> str:
    text = str(entry.get("jpeg_base64") or "")
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(
            f"grid picture {entry.get('name')}: expected base64, got {text[:20]!r}; run bench again"
        ) from error
    return text


def _disagreements(
    engines: dict[str, Sequence[Sequence[object]]], engine: str, said: set[str]
) -> list[tuple[str, list[str], list[str]]]:
    found = []
    for name, pairs in engines.items():
        labels = {str(pair[0]) for pair in pairs}
        if name != engine and labels != said:
            found.append((str(name), sorted(labels - said), sorted(said - labels)))
    return found


def _outline(box: Sequence[object]) -> Outline:
    """[label, x0, y0, x1, y1, role] with corners in 0..1, cut to the picture."""
    x0, y0, x1, y1 = (100 * min(max(float(str(value)), 0.0), 1.0) for value in box[1:5])
    return Outline(str(box[0]), round(x0, 2), round(y0, 2), round(x1 - x0, 2), round(y1 - y0, 2), box[5] == "major")
