"""Where the time of the student's engines goes: a table of parts and kinds of operation, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from benchmarks.report import figures
from benchmarks.report.rows import ReportRow
from benchmarks.sections import CONVERSIONS, HEAD, EngineTimes, LayerTimes, Operation

NOTABLE = 0.01  # share of the time that a sentence is worth
SLOW = 2.0  # times its share of the multiply-adds
PRODUCTS: tuple[Operation, ...] = get_args(Operation)[:4]

Line = tuple[str, ...]  # a name; share and ms of each engine; share of the multiply-adds


@dataclass(frozen=True)
class TimeTable:
    """`groups` are lines by part and by kind of operation; `reasons` are of engines without a profile."""

    engines: tuple[str, ...]
    groups: tuple[list[Line], list[Line]]
    total: Line
    basis: str
    sentences: list[str]
    reasons: list[str]


@dataclass(frozen=True)
class _Engine:
    """An engine with its profile; `row` is what was measured of it without profiling."""

    times: EngineTimes
    row: ReportRow | None

    @property
    def median(self) -> float | None:
        return self.row.number("engine_ms.p50") if self.row else None

    def cells(self, share: float) -> tuple[str, str]:
        return figures.percent(share), figures.milliseconds(None if self.median is None else share * self.median)

    def share(self, kind: str, name: str) -> float:
        return sum(part.share for part in self.times.parts if getattr(part, kind) == name)


def read_layer_times(times: LayerTimes | None, rows: Sequence[ReportRow]) -> TimeTable | None:
    """Return the table of the machine that ran the bench; `rows` are its engines."""
    if times is None:
        return None
    by_name = {row.name: row for row in rows}
    engines = [_Engine(one, by_name.get(one.engine)) for one in times.engines if one.parts]
    sums = [f"{one.times.engine}: {figures.milliseconds(one.times.profiled_ms)} ms" for one in engines]
    parts = [part for one in engines for part in one.times.parts]
    operations = {part.operation for part in parts}
    total = sum((one.cells(1.0) for one in engines), ())
    return TimeTable(
        engines=tuple(one.times.engine for one in engines),
        groups=(
            [_line(engines, "part", name) for name in dict.fromkeys(part.part for part in parts)],
            [_line(engines, "operation", name) for name in get_args(Operation) if name in operations],
        ),
        total=("all layers", *total, figures.percent(1.0)),
        basis=", ".join(sums),
        sentences=_sentences(times.head, engines[0]) if engines else [],
        reasons=[f"{one.engine} has no profile: {one.reason}" for one in times.engines if not one.parts],
    )


def _line(engines: Sequence[_Engine], kind: str, name: str) -> Line:
    """The line of a part or a kind of operation."""
    cells = sum((one.cells(one.share(kind, name)) for one in engines), ())
    return (name, *cells, figures.percent(_arithmetic(engines[0], kind, name) or None))


def _sentences(head: str, engine: _Engine) -> list[str]:
    """What the profile of an engine says about what could be saved."""
    share, ms = engine.cells(engine.share("part", HEAD))
    saved = "" if head == "pooled" or engine.median is None else f": a pooled head would save at most {ms} ms"
    sentences = [f"The {head} head takes {share} of {engine.times.engine}{saved}."]
    converted = engine.share("part", CONVERSIONS)
    if converted >= NOTABLE:
        sentences.append(f"Conversions between types and layouts take {figures.percent(converted)}.")
    outside = [engine.row.number(f"parts_ms.{part}") for part in ("decode", "resize")] if engine.row else [None]
    known = [value for value in outside if value is not None]
    if len(known) == len(outside):
        sentences.append(f"Decoding and resizing take {figures.milliseconds(sum(known))} ms outside of the engine.")
    return sentences + _slow(engine)


def _slow(engine: _Engine) -> list[str]:
    """Name the kind of product that takes the most time beyond its share of the arithmetic."""
    shares = {name: (engine.share("operation", name), _arithmetic(engine, "operation", name)) for name in PRODUCTS}
    name, (time, arithmetic) = max(shares.items(), key=lambda one: one[1][0] - one[1][1])
    if time <= max(NOTABLE, SLOW * arithmetic):
        return []
    of_all = f"{figures.percent(time)} of the time, {figures.percent(arithmetic)} of the multiply-adds"
    return [f"{name.capitalize()}s are slow for their arithmetic: {of_all}."]


def _arithmetic(engine: _Engine, kind: str, name: str) -> float:
    """The share of a part or a kind of operation in the multiply-adds."""
    parts = engine.times.parts
    named = sum(part.multiply_adds for part in parts if getattr(part, kind) == name)
    return named / (sum(part.multiply_adds for part in parts) or 1)
