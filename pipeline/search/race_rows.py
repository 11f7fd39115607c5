"""The result of a race: how far every candidate came, and why not further."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.parsing import parse
from mlkd.core.intervals import Interval
from pipeline.runner.result import read_json

RACE = "race.json"


@dataclass(frozen=True, kw_only=True)
class SelectMap:
    """mAP on select with its 95 % interval, whose ends are None where all images depend on each other."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class RaceRow:
    """A candidate after a rung; without `rung` it was not trained."""

    candidate: str
    p90_ms: float  # on the slowest device
    rung: int | None = None  # from 1
    epochs: int | None = None
    select_map: SelectMap | None = None
    beaten_by: list[str] = field(default_factory=list)
    promoted: bool = False  # to the next rung; after the last one to the finals
    reason: str | None = None  # why it goes no further


@dataclass(frozen=True, kw_only=True)
class Race:
    """The result of the stage race."""

    rows: list[RaceRow]
    ranking: list[str]  # the best first; those that could not be trained for the first rung are not in it


def read_race(folder: Path) -> Race:
    """Read the result of the stage race from its folder."""
    return parse(Race, read_json(folder / RACE))


def select_map_of(interval: Interval) -> SelectMap:
    """Return the interval with None for ends that are nan."""
    known = interval.low == interval.low
    return SelectMap(value=interval.value, low=interval.low if known else None, high=interval.high if known else None)
