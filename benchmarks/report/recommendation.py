"""Which engine to deploy on a device: one rule for the page, its limits and the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import schema
from benchmarks.report import figures
from benchmarks.report.comparison import KEPT, UNKNOWN, as_good, credit, credited, significantly_different
from benchmarks.report.rows import ReportRow, place
from benchmarks.schema import STUDENT
from benchmarks.sections import SearchResult


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits on an engine; mAP in points, 0 to 100, MB of 10^6 bytes."""

    max_p90_ms: float | None = None
    min_map: float | None = None
    max_mb: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_p90_ms", "min_map", "max_mb"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise ValueError(f"{name}: expected a number of at least 0, got {value}; give another limit")
        if self.min_map is not None and self.min_map > 100:
            raise ValueError(f"min_map: expected points from 0 to 100, got {self.min_map:g}; give another limit")


NO_LIMITS = Limits()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`refused` are the other engines of the device, each with its reason; `student` is the model of the engine."""

    engine: str
    student: str
    why: str
    runner_up: str | None
    refused: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """`alike` are the engines as good as the best, the chosen one among them; `better` is a reference."""

    chosen: ReportRow
    best: ReportRow
    alike: tuple[ReportRow, ...]
    runner_up: ReportRow | None
    better: ReportRow | None


def choose(
    rows: Sequence[schema.Row],
    *,
    device: str,
    max_p90_ms: float | None = None,
    min_map: float | None = None,
    max_mb: float | None = None,
    budget: Limits = NO_LIMITS,
    model: str | None = None,
) -> Answer:
    """Choose a student and its engine from the rows of a report.

    Without a limit the answer is the engine of the bundle to deploy, within the budget of the search if there is one.

    Args:
        rows: of all devices.
        device: name of the device.
        max_p90_ms: limit on the end-to-end latency.
        min_map: limit on mAP in points, 0 to 100.
        max_mb: limit on the size of the engine's files, in 10^6 bytes.
        budget: of the search.
        model: of the student whose engines count; without it all students' do where there is a limit.

    Raises:
        ValueError: The device is unknown, a limit is out of range, or no engine fits.
    """
    limits = Limits(max_p90_ms=max_p90_ms, min_map=min_map, max_mb=max_mb)
    on_device = [row for row in place(rows) if row.device == device]
    if not on_device:
        known = ", ".join(dict.fromkeys(row.device for row in rows)) or "none"
        raise ValueError(f"device: expected one that was measured ({known}), got {device!r}; name one of these")
    if model is not None or limits == NO_LIMITS:
        on_device = of_student(on_device, model or STUDENT)
    if limits == NO_LIMITS:
        limits, choice = budget, recommend(on_device, budget, model or STUDENT)
    else:
        choice = pick(on_device, limits)
    if choice is None:
        raise ValueError(nothing_fits(on_device, device, limits))
    return Answer(
        engine=choice.chosen.name,
        student=choice.chosen.model,
        why=why(choice),
        runner_up=choice.runner_up.name if choice.runner_up else None,
        refused=tuple(_refused(on_device, choice, limits)),
    )


def budget_of(search: SearchResult | None) -> Limits:
    """Return the budget of a search as limits; none without a search."""
    return Limits(max_p90_ms=search.max_p90_ms, max_mb=search.max_mb) if search else NO_LIMITS


def of_student(rows: Sequence[ReportRow], model: str = STUDENT) -> list[ReportRow]:
    """Return the engines of one student, that of the bundle by default, and the references."""
    return [row for row in rows if not row.engine or row.model == model]


def recommend(rows: Sequence[ReportRow], budget: Limits, model: str = STUDENT) -> Choice | None:
    """Return the engine of a student to deploy on a device: within the budget, or the best choice without it."""
    own = of_student(rows, model)
    return pick(own, budget) or pick(own, NO_LIMITS)


def pick(rows: Sequence[ReportRow], limits: Limits) -> Choice | None:
    """Return the fastest (p90) of the engines that are as good as the best, among measured engines within the limits.

    An engine is as good if it keeps 99 % of the best mAP, or if the test shows no significant difference to the best;
    neither counts the `gain` of an engine over the float scores of its own model.
    """
    fitting = [row for row in rows if row.engine and row.plotted and not misses(row, limits)]
    if not fitting:
        return None
    best, alike, chosen = _fastest_as_good(fitting)
    others = [row for row in fitting if row is not chosen]
    runner_up = _fastest_as_good(others)[2] if others else None
    better = fastest_reference([row for row in rows if not as_good(chosen, row)], limits)
    return Choice(chosen=chosen, best=best, alike=alike, runner_up=runner_up, better=better)


def _fastest_as_good(fitting: Sequence[ReportRow]) -> tuple[ReportRow, tuple[ReportRow, ...], ReportRow]:
    """Return the best of some rows, those that are as good, and the fastest of these."""
    best = max(fitting, key=lambda row: (credit(row), -(row.latency or 0.0)))
    alike = tuple(row for row in fitting if as_good(row, best))
    return best, alike, min(alike, key=lambda row: (row.latency or 0.0, -credit(row)))


def fastest_reference(rows: Sequence[ReportRow], limits: Limits) -> ReportRow | None:
    """Return a reference within the limits: it is not in the bundle, but a reader may want to know of it."""
    fitting = [row for row in rows if not row.engine and row.plotted and not misses(row, limits)]
    return min(fitting, key=lambda row: row.latency or 0.0, default=None)


def _describe(row: ReportRow) -> str:
    return f"{row.name}, {figures.milliseconds(row.latency)} ms with {figures.points(row.map)} mAP"


def misses(row: ReportRow, limits: Limits) -> dict[str, tuple[float, str]]:
    """Return by limit the share of it by which the row misses, and the miss in words."""
    size, missed = row.bytes, {}
    accuracy, latency = 100 * (row.map or 0.0), row.latency or 0.0
    if limits.max_p90_ms is not None and latency > limits.max_p90_ms:
        over = f"p90 {figures.milliseconds(latency)} ms, {figures.milliseconds(latency - limits.max_p90_ms)} ms over"
        missed["max_p90_ms"] = (latency - limits.max_p90_ms) / max(limits.max_p90_ms, 1e-9), over
    if limits.min_map is not None and accuracy < limits.min_map:
        short = f"mAP {accuracy:.1f}, {limits.min_map - accuracy:.2f} points short"
        missed["min_map"] = (limits.min_map - accuracy) / max(limits.min_map, 1e-9), short
    if limits.max_mb is not None and (size is None or size / 1e6 > limits.max_mb):
        megabytes = float("inf") if size is None else size / 1e6
        over = "size unknown" if size is None else f"{megabytes:.1f} MB, {megabytes - limits.max_mb:.2f} MB over"
        missed["max_mb"] = (megabytes - limits.max_mb) / max(limits.max_mb, 1e-9), over
    return missed


def closest(rows: Sequence[ReportRow], limits: Limits) -> ReportRow | None:
    """Return the measured engine whose worst miss is smallest."""
    measured = [row for row in rows if row.engine and row.plotted]
    return min(
        measured, key=lambda row: max((share for share, _ in misses(row, limits).values()), default=0.0), default=None
    )


def nothing_fits(rows: Sequence[ReportRow], device: str, limits: Limits) -> str:
    near = closest(rows, limits)
    if near is None:
        return f"{device}: expected a measured engine with latency and mAP, got none; run bench there"
    missed = "; ".join(words for _, words in misses(near, limits).values())
    known = fastest_reference(rows, limits)
    instead = f"; a reference, not in the bundle, would fit: {_describe(known)}" if known else ""
    return (
        f"{device}: expected an engine within the limits, got none; "
        f"closest is {near.name} ({missed}): relax that limit{instead}"
    )


def why(choice: Choice) -> str:
    """Explain a choice in sentences; gains that do not count and a reference that tags better are named."""
    model = choice.chosen.model
    other = "" if model == STUDENT else f" The student is {model}, not the one in the bundle."
    better = f" A reference, not in the bundle, tags better: {_describe(choice.better)}." if choice.better else ""
    return _why(choice) + "".join(_not_counted(row) for row in choice.alike) + other + better


def _not_counted(row: ReportRow) -> str:
    """Name a gain over the float scores that would have counted, one of more than 1 % of the mAP."""
    if row.gain <= (1 - KEPT) * (row.map or 0.0):
        return ""
    gain = figures.signed(row.gain, digits=2)
    return f" {row.name} gains {gain} points over the float scores of its model: not counted, as rounding adds none."


def _why(choice: Choice) -> str:
    chosen, best = choice.chosen, choice.best
    numbers = f"{figures.milliseconds(chosen.latency)} ms end to end (p90) with {figures.points(chosen.map)} mAP"
    if len(choice.alike) == 1:
        return f"{numbers}: the best mAP of those that fit, and no other comes within 1 % of it."
    text = f"{numbers}: the fastest of {len(choice.alike)} engines that tag as well as the best."
    apart = [
        row for row in choice.alike if row is not chosen and significantly_different(credited(row), credited(chosen))
    ]
    if chosen is best and apart:
        return f"{text} No other of them tags better."
    if chosen.interval is None:
        return f"{numbers}: the fastest of {len(choice.alike)} engines; {UNKNOWN}."
    if not apart:
        return f"{text} There is no significant difference in mAP between them."
    lost = figures.signed(credit(chosen) - credit(best), digits=2)
    return f"{text} It is within 1 % of the best, {best.name} ({lost} points)."


def _refused(rows: Sequence[ReportRow], choice: Choice, limits: Limits) -> list[tuple[str, str]]:
    """Return every other engine of the device with the reason why it is not chosen."""
    alike = {row.at for row in choice.alike}
    refused = []
    for row in rows:
        if not row.engine or row is choice.chosen:
            continue
        if not row.plotted:
            reason = row.failure or "measured without a latency or a mAP"
        elif missed := misses(row, limits):
            reason = "; ".join(words for _, words in missed.values())
        elif row.at in alike:
            reason = f"as good, but slower: {figures.milliseconds(row.latency)} ms"
        else:
            reason = f"tags worse: mAP {figures.points(row.map)}"
        refused.append((row.name, reason))
    return refused
