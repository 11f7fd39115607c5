"""What export cost: the mAP that each precision kept and how, and how far each engine is from the float engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.report import figures
from benchmarks.report.rows import Facts, Row
from benchmarks.report.scale import Scale, padded

PLOT_PX = 180


@dataclass(frozen=True)
class Precision:
    """One graph; mAP on the select half of val as fractions, None where there is none."""

    name: str
    map: float | None
    kept: float | None  # of the float mAP
    fits: bool
    calibrator: str  # with the mAP that it gave, as each of the others
    others: tuple[str, ...]
    verdict: str
    layers: tuple[tuple[str, float | None], ...]  # left in float, and the score drift that each took away


@dataclass(frozen=True)
class Hurt:
    """A label that an engine ranks worse than the float engine; AP as fractions."""

    label: str
    float_ap: float
    ap: float
    positives: int | None

    @property
    def told(self) -> str:
        return f"{figures.points(self.float_ap)} → {figures.points(self.ap)}"

    @property
    def loss(self) -> float:
        return self.ap - self.float_ap


@dataclass(frozen=True)
class Engine:
    """One engine beside the float engine, over all of val; `spots` are low, value and high in pixels of the plot."""

    name: str
    scored_by: str  # empty: by itself
    exact: bool  # whether its scores were computed in exact arithmetic, as those of an int8 engine are
    arithmetic: str  # what its graph is meant for, and what its scores were computed in; empty: not said
    int8: bool
    change: str
    interval: str
    spots: tuple[float, float, float] | None
    flipped: str
    largest: str
    mean: str
    drift: str  # of this processor's int8 kernels from exact arithmetic; empty where nobody looked
    hurt: tuple[Hurt, ...]


@dataclass(frozen=True)
class Freezing:
    """All that the section shows; `zero` and `budget` are places in the plot."""

    goal: str
    calibration: str
    precisions: tuple[Precision, ...]
    compared: bool  # whether it is known how far each calibrator moved scores
    engines: tuple[Engine, ...]
    zero: float
    budget: float | None
    plot_px: int = PLOT_PX

    @property
    def partly_float(self) -> tuple[Precision, ...]:
        """Those that had to leave layers in float."""
        return tuple(precision for precision in self.precisions if precision.layers)

    @property
    def placed(self) -> tuple[Engine, ...]:
        """Those of which it is known what they are meant for."""
        return tuple(engine for engine in self.engines if engine.arithmetic)

    @property
    def drifting(self) -> tuple[Engine, ...]:
        """The int8 engines that were computed in exact arithmetic as well."""
        return tuple(engine for engine in self.engines if engine.drift)

    @property
    def lossy(self) -> tuple[Engine, ...]:
        """The int8 engines that hurt a label."""
        return tuple(engine for engine in self.engines if engine.int8 and engine.hurt)

    @property
    def worst(self) -> float:
        """The biggest loss of all that is shown, negative."""
        return min(hurt.loss for engine in self.lossy for hurt in engine.hurt)


def read_freezing(facts: Facts | None, rows: Sequence[Row]) -> Freezing | None:
    """Return what export cost; None where the report does not hold it."""
    if not facts:
        return None
    keep, whole = facts.get("keep"), facts.get("float_map")
    budget = None if keep is None or whole is None else (keep - 1) * whole
    x = _scale(facts.get("parity") or (), budget)
    int8 = {row.name for row in rows if (row.precision or "").startswith("int8")}
    return Freezing(
        goal=_goal(facts),
        calibration=_calibration(facts.get("calibration") or {}),
        precisions=tuple(_precision(entry, keep) for entry in facts.get("precisions") or ()),
        compared=any(entry.get("moved") for entry in facts.get("precisions") or ()),
        engines=tuple(_engine(entry, x, int8) for entry in facts.get("parity") or ()),
        zero=x(0.0),
        budget=None if budget is None else x(budget),
    )


def _goal(facts: Facts) -> str:
    """What the float graph has and how much of it int8 must keep; empty where nobody looked."""
    if facts.get("float_map") is None:
        return ""
    found = f"The float student has {figures.points(facts.get('float_map'))} mAP"
    if facts.get("images"):
        found += f" on the {figures.count(facts['images'])} select images of val"
    return found + (f"; at least {100 * facts['keep']:g} % of it must be kept." if facts.get("keep") else ".")


def _calibration(facts: Facts) -> str:
    """From how many images ranges come; empty where nothing was calibrated."""
    if not facts.get("images"):
        return ""
    covered = f" that cover {figures.count(facts['labels'])} labels" if facts.get("labels") else ""
    return f"Ranges come from {figures.count(facts['images'])} training images{covered}."


def _precision(entry: Facts, keep: float | None) -> Precision:
    kept, chosen, tried = entry.get("kept"), entry.get("calibrator"), entry.get("tried") or {}
    ranked = sorted(tried.items(), key=lambda pair: -(pair[1] or 0.0))
    moved, quality = entry.get("moved") or {}, entry.get("quality") or {}
    change = _interval(quality.get("low"), quality.get("high"))
    told = {name: f"{name} {figures.points(value)}{_moved(moved.get(name))}" for name, value in ranked}
    return Precision(
        name=str(entry.get("precision")),
        map=quality.get("select_map", entry.get("select_map")),
        kept=kept,
        fits=bool(quality.get("fits", keep is None or kept is None or kept >= keep)),
        calibrator=told.get(chosen, f"{chosen} –") if chosen else "",
        others=tuple(words for name, words in told.items() if name != chosen),
        verdict="; ".join(filter(None, (str(entry.get("verdict") or ""), change and f"{change} points (95 %)"))),
        layers=tuple((str(one.get("layer")), one.get("gain")) for one in entry.get("float_layers") or ()),
    )


def _interval(low: float | None, high: float | None) -> str:
    """In points; empty where there is none."""
    missing = low is None or high is None
    return "" if missing else f"{figures.signed(low, digits=2)} to {figures.signed(high, digits=2)}"


def _arithmetic(entry: Facts) -> str:
    meant_for, judged_in = entry.get("meant_for"), entry.get("judged_in")
    return f"meant for {meant_for}; scores computed in {judged_in}" if meant_for and judged_in else ""


def _moved(difference: float | None) -> str:
    """Mean difference of scores from the float graph's."""
    return "" if difference is None else f" ({figures.small(difference)})"


def _scale(parity: Sequence[Facts], budget: float | None) -> Scale:
    """From the lowest to the highest end of an interval, with 0 and the budget in sight."""
    ends = [value for entry in parity for key in ("low", "delta_map", "high") if (value := entry.get(key)) is not None]
    low, high = padded([0.0, *ends, *([] if budget is None else [budget])], share=0.04, least=1e-6)
    return Scale(low, high, 0, PLOT_PX)


def _engine(entry: Facts, x: Scale, int8: set[str]) -> Engine:
    name, scored_by = str(entry.get("engine")), str(entry.get("scored_by") or "")
    low, value, high = (entry.get(key) for key in ("low", "delta_map", "high"))
    known = None
    if low is not None and value is not None and high is not None and low <= value <= high:
        known = (x(low), x(value), x(high))
    return Engine(
        name=name,
        scored_by="" if scored_by == name else scored_by,
        exact=entry.get("judged_in") == "exact arithmetic",
        arithmetic=_arithmetic(entry),
        int8=name in int8,
        change=figures.signed(value, digits=2),
        interval=_interval(low, high),
        spots=known,
        flipped=figures.share(entry.get("flipped")),
        largest=figures.small(entry.get("max_difference")),
        mean=figures.small(entry.get("mean_difference")),
        drift=str((entry.get("drift") or {}).get("text") or ""),
        hurt=tuple(
            Hurt(str(one.get("label")), one["float_ap"], one["ap"], one.get("positives"))
            for one in entry.get("hurt") or ()
        ),
    )
