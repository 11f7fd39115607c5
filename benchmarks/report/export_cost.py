"""What export cost: the mAP that each precision kept and how, and how far each engine is from the float engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.parsing import parse
from benchmarks.report import figures
from benchmarks.report.rows import ReportRow
from benchmarks.report.scale import Scale, padded
from benchmarks.schema import LabelLoss

PLOT_PX = 180


@dataclass(frozen=True, kw_only=True)
class FloatLayer:
    """A layer left in float, and the score drift that it took away."""

    layer: str
    gain: float | None = None


@dataclass(frozen=True, kw_only=True)
class PrecisionCost:
    """One graph; mAP on the select half of val and the 95 % interval of its change, as fractions."""

    precision: str
    select_map: float | None = None
    low: float | None = None
    high: float | None = None
    kept: float | None = None  # of the float mAP
    fits: bool | None = None
    calibrator: str | None = None
    tried: dict[str, float | None] = field(default_factory=dict)  # mAP by calibrator
    moved: dict[str, float | None] = field(default_factory=dict)  # mean difference of scores from the float graph's
    verdict: str = ""
    float_layers: list[FloatLayer] = field(default_factory=list)

    def calibration(self, name: str) -> str:
        """Describe what a calibrator gave."""
        moved = self.moved.get(name)
        return f"{name} {figures.points(self.tried.get(name))}" + (
            "" if moved is None else f" ({figures.small(moved)})"
        )

    @property
    def others(self) -> str:
        """The other calibrators, the best first."""
        ranked = sorted(self.tried, key=lambda name: -(self.tried[name] or 0.0))
        return ", ".join(self.calibration(name) for name in ranked if name != self.calibrator)

    @property
    def decision(self) -> str:
        """The verdict, and the interval that it rests on."""
        change = figures.signed_interval(self.low, self.high)
        return "; ".join(filter(None, (self.verdict, change and f"{change} points (95 %)")))


@dataclass(frozen=True, kw_only=True)
class WorstLabel(LabelLoss):
    """A label that an engine ranks worse than the float engine."""

    positives: int | None = None

    @property
    def loss(self) -> float:
        """Change of AP, negative."""
        return self.ap - self.float_ap


@dataclass(frozen=True, kw_only=True)
class KernelDrift:
    """How far this processor's int8 kernels are from exact arithmetic, in words."""

    text: str


@dataclass(frozen=True, kw_only=True)
class EngineCost:
    """One engine beside the float engine, over all of val."""

    engine: str
    scored_by: str = ""
    judged_in: str = ""  # what its scores were computed in
    meant_for: str = ""
    delta_map: float | None = None
    low: float | None = None
    high: float | None = None
    flipped: float | None = None
    max_difference: float | None = None
    mean_difference: float | None = None
    drift: KernelDrift | None = None
    hurt: list[WorstLabel] = field(default_factory=list)

    @property
    def proxy(self) -> str:
        """What was scored in place of the engine; empty where it was scored itself."""
        return "" if self.scored_by == self.engine else self.scored_by

    def spots(self, x: Scale) -> tuple[float, float, float] | None:
        """Low end, change and high end in the plot."""
        if (
            self.low is None
            or self.delta_map is None
            or self.high is None
            or not self.low <= self.delta_map <= self.high
        ):
            return None
        return x(self.low), x(self.delta_map), x(self.high)


@dataclass(frozen=True)
class ExportCost:
    """All that the section shows; `zero`, `budget` and the `spots` of engines are places in the plot."""

    goal: str
    calibration: str
    precisions: list[PrecisionCost]
    engines: list[EngineCost]
    spots: dict[str, tuple[float, float, float] | None]
    int8: set[str]  # names of engines
    keep: float | None
    zero: float
    budget: float | None
    plot_px: int = PLOT_PX

    @property
    def worst_labels(self) -> list[tuple[str, list[WorstLabel]]]:
        """The int8 engines that rank a label worse."""
        return [(entry.engine, entry.hurt) for entry in self.engines if entry.engine in self.int8 and entry.hurt]

    @property
    def largest_loss(self) -> float:
        """The largest loss of AP of all that is shown, negative."""
        return min(label.loss for _, labels in self.worst_labels for label in labels)

    def fits(self, graph: PrecisionCost) -> bool:
        """Whether a graph is within the budget."""
        if graph.fits is not None:
            return graph.fits
        return self.keep is None or graph.kept is None or graph.kept >= self.keep


def read_export_cost(facts: dict[str, Any] | None, rows: Sequence[ReportRow]) -> ExportCost | None:
    """Return what export cost; None where the report does not hold it."""
    if not facts:
        return None
    keep, float_map = facts.get("keep"), facts.get("float_map")
    budget = None if keep is None or float_map is None else (keep - 1) * float_map
    entries = [{**entry, **(entry.get("quality") or {})} for entry in facts.get("precisions") or ()]
    engines = parse(list[EngineCost], facts.get("parity") or [], ranges=False)
    x = _scale(engines, budget)
    return ExportCost(
        goal=_goal(facts),
        calibration=_calibration(facts.get("calibration") or {}),
        precisions=parse(list[PrecisionCost], entries, ranges=False),
        engines=engines,
        spots={engine.engine: engine.spots(x) for engine in engines},
        int8={row.name for row in rows if row.in_bundle and (row.precision or "").startswith("int8")},
        keep=keep,
        zero=x(0.0),
        budget=None if budget is None else x(budget),
    )


def _goal(facts: dict[str, Any]) -> str:
    """The mAP of the float graph and how much of it int8 must keep."""
    if facts.get("float_map") is None:
        return ""
    found = f"The float student has {figures.points(facts['float_map'])} mAP"
    if facts.get("images"):
        found += f" on the {figures.count(facts['images'])} select images of val"
    return found + (f"; at least {100 * facts['keep']:g} % of it must be kept." if facts.get("keep") else ".")


def _calibration(facts: dict[str, Any]) -> str:
    """How many images the ranges come from."""
    if not facts.get("images"):
        return ""
    covered = f" that cover {figures.count(facts['labels'])} labels" if facts.get("labels") else ""
    return f"Ranges come from {figures.count(facts['images'])} training images{covered}."


def _scale(engines: Sequence[EngineCost], budget: float | None) -> Scale:
    """From the lowest to the highest end of an interval, with 0 and the budget in sight."""
    ends = [value for engine in engines for value in (engine.low, engine.delta_map, engine.high) if value is not None]
    low, high = padded([0.0, *ends, *([] if budget is None else [budget])], share=0.04, least=1e-6)
    return Scale(low, high, 0, PLOT_PX)
