"""The table of a comparison from the finished stages; mAP and its differences are of the test set."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mlkd.core.groups import Groups
from mlkd.core.intervals import Variance
from mlkd.data.prepared import read_split
from pipeline.compare import runs
from pipeline.compare.statistics import Gain, Measured, Spread, difference, seed_variance
from pipeline.recipe.methods import CONTROLS, Method
from pipeline.recipe.schema import Recipe
from pipeline.runner.result import read_json

WIDER = 3.0  # factor between the values of a grid


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method; None where a value is not known."""

    method: str
    value: float | None  # share of the gradient or multiple of the learning rate, chosen in the grid
    select_map: dict[str, float | None]  # by value; None where training diverged
    maps: dict[int, float]  # by seed
    map: Spread | None
    parts: dict[str, Spread | None]  # of the test set, by name
    gains: dict[str, Gain | None]  # by control
    minutes: float | None  # of the steps of a training, of the median epoch, mean over seeds

    @property
    def beyond(self) -> float | None:
        """The value to try next where the chosen one is the least or the greatest of several, else None."""
        values = list(self.select_map)
        if self.value is None or len(values) < 2 or f"{self.value:g}" not in (values[0], values[-1]):
            return None
        return self.value / WIDER if f"{self.value:g}" == values[0] else self.value * WIDER


@dataclass(frozen=True, kw_only=True)
class Table:
    """The rows, and which parts of the protocol are missing, as text."""

    rows: tuple[Row, ...]
    missing: tuple[str, ...]
    machines: tuple[str, ...]  # that trained

    @property
    def partial(self) -> bool:
        """Whether a part of the protocol is missing."""
        return bool(self.missing)


def read_table(recipe: Recipe, folder: Path) -> Table:
    """Read the stages of the present protocol: those that a rerun would skip."""
    plan = runs.pipeline(recipe, folder).plan()
    finished = {decision.stage for decision in plan if not decision.runs and not decision.reused}
    results = {method.name: _read(recipe, method, folder, finished) for method in recipe.compare.methods}
    any_map = any(method.measured.maps for method in results.values())
    groups = read_split(folder / "data", "test").clusters if any_map else ()
    between = {control: _seed_variance(control, results) for control in CONTROLS if control in results}
    return Table(
        rows=tuple(_row(name, results, between, groups) for name in results),
        missing=tuple(text for method in recipe.compare.methods for text in _missing(recipe, method, results)),
        machines=tuple(sorted({text for method in results.values() for text in method.machines})),
    )


@dataclass
class _Results:
    """Results of the finished stages of one method."""

    chosen: Mapping[str, Any]
    measured: Measured = field(default_factory=Measured)
    parts: list[Mapping[str, float | None]] = field(default_factory=list)
    minutes: list[float] = field(default_factory=list)
    machines: set[str] = field(default_factory=set)
    diverged: list[int] = field(default_factory=list)


def _read(recipe: Recipe, method: Method, folder: Path, finished: Collection[str]) -> _Results:
    results, chosen = _Results({"value": None, "select_map": {}}), runs.stage_name("chosen", method)
    if method.grid and chosen in finished:
        results.chosen = read_json(folder / chosen / runs.CHOSEN)
    for seed in range(recipe.compare.seeds_of(method)):
        test, final = runs.stage_name("test", method, seed), folder / runs.stage_name("final", method, seed)
        if test not in finished:
            continue
        facts = read_json(folder / test / runs.TEST)
        if facts["map"] is None:
            results.diverged.append(seed)
            continue
        results.measured.maps[seed] = facts["map"]
        results.measured.influences[seed] = np.load(folder / test / runs.INFLUENCE)
        results.parts.append(facts["parts"])
        results.minutes.append(_minutes(final))
        machine = read_json(final / runs.MACHINE)
        results.machines.add(", ".join([f"{machine['cores']} cores of {machine['cpu']}", *machine["gpus"]]))
    return results


def _minutes(final: Path) -> float:
    seconds = [float(epoch["seconds"]) for epoch in read_json(final / "history.json")]
    return float(np.median(seconds)) * len(seconds) / 60


def _missing(recipe: Recipe, method: Method, results: Mapping[str, _Results]) -> list[str]:
    own, seeds = results[method.name], recipe.compare.seeds_of(method)
    texts = []
    if method.grid and own.chosen["value"] is None:
        if own.chosen["select_map"]:
            return [f"{method.name}: diverged at every value"]
        texts.append(f"{method.name}: grid not finished")
    if absent := seeds - len(own.measured.maps) - len(own.diverged):
        texts.append(f"{method.name}: {absent} of {seeds} seeds not run")
    if own.diverged:
        texts.append(f"{method.name}: training diverged with seed {', '.join(map(str, own.diverged))}")
    return texts


def _seed_variance(control: str, results: Mapping[str, _Results]) -> Variance | None:
    others = [other.measured for method, other in results.items() if method != control]
    return seed_variance(others, results[control].measured)


def _row(name: str, results: Mapping[str, _Results], between: Mapping[str, Variance | None], groups: Groups) -> Row:
    """`between` is the variance between seeds of the difference to each control."""
    own, comparisons = results[name], len(results) - 1
    gains = {
        control: difference(own.measured, results[control].measured, groups, between=variance, comparisons=comparisons)
        for control, variance in between.items()
        if control != name
    }
    return Row(
        method=name,
        value=own.chosen["value"],
        select_map=dict(own.chosen["select_map"]),
        maps=own.measured.maps,
        map=Spread.of(own.measured.maps.values()),
        parts={part: Spread.of([facts[part] for facts in own.parts]) for part in own.parts[0]} if own.parts else {},
        gains=gains,
        minutes=float(np.mean(own.minutes)) if own.minutes else None,
    )
