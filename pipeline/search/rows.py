"""What a screen measured of every candidate, and whether the candidate keeps the budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.parsing import parse
from benchmarks.schema import Percentiles
from pipeline.recipe.search import Search
from pipeline.runner.result import read_json

BUILT, BUNDLE = "built.json", "bundle"  # in the folder of a build
TIMES, SCREEN = "times.json", "screen.json"


@dataclass(frozen=True, kw_only=True)
class Built:
    """What is known of a candidate before it is timed."""

    parameters: int | None = None
    multiply_adds: int | None = None  # for one image
    failed: dict[str, str] = field(default_factory=dict)  # by engine, why it cannot be made
    reason: str | None = None  # why there is no engine


@dataclass(frozen=True, kw_only=True)
class Row:
    """One engine of a candidate on one device; `engine` is None for a candidate that could not be built."""

    candidate: str
    device: str
    engine: str | None = None
    parameters: int | None = None  # not in TIMES
    multiply_adds: int | None = None  # for one image; not in TIMES
    megabytes: float | None = None  # of the engine's files
    end_to_end_ms: Percentiles | None = None
    engine_ms: Percentiles | None = None
    settled: bool | None = None  # whether the warm-up ended with a steady time
    reason: str | None = None  # why there are no times


@dataclass(frozen=True, kw_only=True)
class Latency:
    """A p90 end to end with its bound, in ms; infinite without times."""

    p90_ms: float
    bound_ms: float

    def is_below(self, other: Latency) -> bool:
        """Whether it is lower by more than the noise of its own measurement."""
        return self.bound_ms < other.p90_ms


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a candidate keeps the budget on all devices."""

    candidate: str
    fastest: dict[str, Row]  # by device: the fastest engine of those that miss the budget least
    misses: list[str]  # the budgets that are missed, or why nothing was timed; empty for a candidate that is kept
    excess: float | None  # the largest miss, as a share of its budget; None without times

    @property
    def kept(self) -> bool:
        """Whether the candidate is worth training."""
        return not self.misses

    @property
    def p90_ms(self) -> float:
        """The latency on the slowest device; infinite without times."""
        return float("inf") if self.excess is None else max(map(p90_ms, self.fastest.values()))

    @property
    def latency(self) -> Latency:
        """The latency on the slowest device; the bound is the p90 itself where too few queries give none."""
        bounds = (row.end_to_end_ms.p90_bound for row in self.fastest.values() if row.end_to_end_ms)
        known = (bound for bound in bounds if bound is not None)
        return Latency(p90_ms=self.p90_ms, bound_ms=max((self.p90_ms, *known)))


@dataclass(frozen=True, kw_only=True)
class Screen:
    """The result of the stage screen; verdicts begin with the lowest latency."""

    rows: list[Row]
    verdicts: list[Verdict]


def read_screen(folder: Path) -> Screen:
    """Read the result of the stage screen from its folder."""
    return parse(Screen, read_json(folder / SCREEN))


def read_built(folder: Path) -> Built:
    """Read the result of a stage build from its folder."""
    return parse(Built, read_json(folder / BUILT))


def read_times(folder: Path) -> list[Row]:
    """Read the result of the stage times from its folder."""
    return parse(list[Row], read_json(folder / TIMES))


def rows_of(candidate: str, device: str, built: Built, timed: Sequence[Row]) -> list[Row]:
    """Return the rows of a candidate on a device, at least one: of engines with and without times."""
    parameters, multiply_adds = built.parameters, built.multiply_adds
    known = partial(Row, candidate=candidate, device=device, parameters=parameters, multiply_adds=multiply_adds)
    failed = [known(engine=engine, reason=reason) for engine, reason in built.failed.items()]
    own = [
        dataclasses.replace(row, parameters=parameters, multiply_adds=multiply_adds)
        for row in timed
        if (row.candidate, row.device) == (candidate, device)
    ]
    no_engine = built.reason or "no engine is of a runtime that devices.yaml names for the device"
    return [*failed, *own] or [known(reason=no_engine)]


def p90_ms(row: Row) -> float:
    """The latency end to end; infinite for a row without times."""
    p90 = row.end_to_end_ms.p90 if row.end_to_end_ms else None
    return float("inf") if p90 is None else p90


def judge(candidate: str, rows: Sequence[Row], search: Search) -> Verdict:
    """Compare the rows of a candidate, on all devices, with the budget: one engine of each device has to keep it."""
    devices = dict.fromkeys(row.device for row in rows)
    timed = {device: [row for row in rows if row.device == device and row.end_to_end_ms] for device in devices}
    reasons = [f"{row.device}: {row.reason}" for row in rows if not timed[row.device]]
    fastest = {
        device: min(own, key=lambda row: (_excess(row, search), p90_ms(row))) for device, own in timed.items() if own
    }
    over = [(device, *miss) for device, row in fastest.items() for miss in _misses(row, search)]
    return Verdict(
        candidate=candidate,
        fastest=fastest,
        misses=[*dict.fromkeys(reasons), *(f"{device}: {text}" for device, share, text in over if share > 0)],
        excess=None if reasons else max(share for _, share, _ in over),
    )


def check_kept(verdicts: Sequence[Verdict], search: Search) -> None:
    """Raise ValueError that names the nearest candidate if none keeps the budget."""
    if any(verdict.kept for verdict in verdicts):
        return
    near = min((v for v in verdicts if v.excess is not None), key=lambda v: v.excess or 0.0, default=None)
    if near is None:
        first = "; ".join(verdicts[0].misses)
        raise ValueError(
            f"search: expected a candidate that runs, got none of {len(verdicts)}; {verdicts[0].candidate}: {first}"
        )
    limits = {"max_p90_ms": search.max_p90_ms, "max_mb": search.max_mb}
    budget = ", ".join(f"{name} {value:g}" for name, value in limits.items() if value is not None)
    raise ValueError(
        f"search: expected a candidate within the budget ({budget}), got none of {len(verdicts)}; nearest is "
        f"{near.candidate} ({'; '.join(near.misses)}): raise that budget, or add smaller backbones, a smaller image_px "
        "or a cheaper head to search.students"
    )


def _excess(row: Row, search: Search) -> float:
    return max(share for share, _ in _misses(row, search))


def _misses(row: Row, search: Search) -> Iterator[tuple[float, str]]:
    """For each budget the share of it by which the row is over, 0 if it is not, and the miss in words."""
    for value, limit, what, unit in (
        (p90_ms(row), search.max_p90_ms, "p90", "ms"),
        (row.megabytes or 0.0, search.max_mb, row.engine, "MB"),
    ):
        if limit is not None:
            yield max(0.0, value / limit - 1), f"{what} {value:.2f} {unit}, {value - limit:.2f} {unit} over"
