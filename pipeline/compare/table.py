"""The table of a comparison from whatever runs are finished; mAP and its differences are of the test set."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkd.core.groups import Groups
from mlkd.data.prepared import read_split
from pipeline.compare import runs
from pipeline.compare.statistics import Gain, Measured, Spread, difference
from pipeline.recipe.methods import NO_TEACHER, PUBLISHED, Method
from pipeline.recipe.schema import Recipe
from pipeline.runner.result import read_json


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method; None where nothing is known (yet)."""

    method: str
    factor: float | None  # chosen in the grid
    select_map: dict[str, float | None]  # by factor; None where training diverged
    maps: dict[int, float]  # by seed
    map: Spread | None
    major: Spread | None
    minor: Spread | None
    to_no_teacher: Gain | None
    to_published: Gain | None
    step_ms: float | None  # median epoch, mean over seeds


@dataclass(frozen=True, kw_only=True)
class Table:
    """The rows, and what the protocol asks for that is not there, in words."""

    rows: tuple[Row, ...]
    missing: tuple[str, ...]
    machines: tuple[str, ...]  # that the runs were timed on

    @property
    def partial(self) -> bool:
        """Whether it is less than the protocol."""
        return bool(self.missing)


def read_table(recipe: Recipe, folder: Path) -> Table:
    """Only runs of today's protocol count: those that a new start would skip."""
    finished = {decision.stage for decision in runs.pipeline(recipe, folder).plan() if not decision.runs}
    read = {method.name: _read(recipe, method, folder, finished) for method in recipe.compare.methods}
    groups = read_split(folder / "data", "test").clusters if any(one.maps for one in read.values()) else ()
    return Table(
        rows=tuple(_row(name, read, groups) for name in read),
        missing=tuple(text for method in recipe.compare.methods for text in _missing(recipe, method, read)),
        machines=tuple(sorted({text for one in read.values() for text in one.machines})),
    )


@dataclass
class _Found:
    """What the finished runs of one method left."""

    chosen: Mapping[str, Any]
    maps: dict[int, float] = field(default_factory=dict)
    influences: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    roles: list[Mapping[str, float | None]] = field(default_factory=list)
    step_s: list[float] = field(default_factory=list)
    machines: set[str] = field(default_factory=set)
    diverged: list[int] = field(default_factory=list)

    @property
    def hopeless(self) -> bool:
        """Whether the grid is finished and training diverged all over it."""
        return bool(self.chosen["select_map"]) and self.chosen["factor"] is None


def _read(recipe: Recipe, method: Method, folder: Path, finished: Collection[str]) -> _Found:
    found = _Found({"factor": None, "select_map": {}})
    if method.scaled and runs.chosen_name(method) in finished:
        found.chosen = read_json(folder / runs.chosen_name(method) / runs.CHOSEN)
    for seed in range(recipe.compare.seeds):
        if runs.test_name(method, seed) in finished:
            test, final = (folder / name(method, seed) for name in (runs.test_name, runs.final_name))
            told = read_json(test / runs.TEST)
            if told["map"] is None:
                found.diverged.append(seed)
                continue
            found.maps[seed], found.influences[seed] = told["map"], np.load(test / runs.INFLUENCE)
            found.roles.append(told)
            found.step_s.append(_step_seconds(recipe, folder, final))
            found.machines.add(_machine(final))
    return found


def _step_seconds(recipe: Recipe, folder: Path, final: Path) -> float:
    training = recipe.student.training
    images = read_json(folder / "data" / "about.json")["counts"]["train"]
    seconds = [float(epoch["seconds"]) for epoch in read_json(final / "history.json")]
    steps = max(1, int(images) // (training.batch_size * training.accumulate))
    return float(np.median(seconds)) / steps


def _machine(final: Path) -> str:
    facts = read_json(final / runs.MACHINE)
    return ", ".join([f"{facts['cores']} cores of {facts['cpu']}", *facts["gpus"]])


def _missing(recipe: Recipe, method: Method, read: Mapping[str, _Found]) -> list[str]:
    found, wanted, told = read[method.name], recipe.compare.seeds, []
    if found.hopeless:
        return [f"{method.name}: diverged at every factor"]
    if method.scaled and found.chosen["factor"] is None:
        told.append(f"{method.name}: grid not finished")
    if absent := wanted - len(found.maps) - len(found.diverged):
        told.append(f"{method.name}: {absent} of {wanted} seeds not run")
    if found.diverged:
        told.append(f"{method.name}: training diverged with seed {', '.join(map(str, found.diverged))}")
    return told


def _row(name: str, read: Mapping[str, _Found], groups: Groups) -> Row:
    found = read[name]
    return Row(
        method=name,
        factor=found.chosen["factor"],
        select_map=dict(found.chosen["select_map"]),
        maps=found.maps,
        map=Spread.of(found.maps.values()),
        major=Spread.of([told["major"] for told in found.roles]),
        minor=Spread.of([told["minor"] for told in found.roles]),
        to_no_teacher=_gain(name, NO_TEACHER, read, groups),
        to_published=_gain(name, PUBLISHED, read, groups),
        step_ms=1e3 * float(np.mean(found.step_s)) if found.step_s else None,
    )


def _gain(name: str, other: str, read: Mapping[str, _Found], groups: Groups) -> Gain | None:
    if other == name or other not in read:
        return None
    mine, theirs = (Measured(read[one].maps, read[one].influences) for one in (name, other))
    return difference(mine, theirs, groups)
