"""Latency at equal mAP: references that tag as well as the chosen engine, and their latency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.report import figures
from benchmarks.report.comparison import as_good, significantly_different
from benchmarks.report.rows import ReportRow

ALIKE = 0.1  # what processes of one stable engine may differ by


@dataclass(frozen=True)
class Rival:
    """A reference that is as good; it takes `times` as long as the chosen engine, end to end p90."""

    row: ReportRow
    times: float
    points: float  # of mAP above the chosen engine, as a fraction
    better: bool  # the chosen engine does not count as as good

    @property
    def text(self) -> str:
        """The rival in one line."""
        return (
            f"{figures.times(self.times)} as long: {self.row.name}, "
            f"{figures.milliseconds(self.row.latency)} ms, {figures.signed(self.points)} points"
        )


def rivals(rows: Sequence[ReportRow], chosen: ReportRow) -> list[Rival]:
    """Return references of the same device whose mAP is not shown to be below the chosen engine's, the fastest first.

    That is decided by paired intervals where both are known, else by whether it is in the chosen engine's interval.
    """
    good = [
        row
        for row in rows
        if not row.engine and row.plotted and row.device == chosen.device and not _is_worse(row, chosen)
    ]
    return sorted((_rival(row, chosen) for row in good), key=lambda rival: rival.times)


def _is_worse(row: ReportRow, chosen: ReportRow) -> bool:
    own, least = row.map or 0.0, chosen.map or 0.0
    if row.versus_student and chosen.versus_student:
        return own < least and significantly_different(row, chosen)
    return own < (chosen.interval[0] if chosen.interval else least)


def _rival(row: ReportRow, chosen: ReportRow) -> Rival:
    times = (row.latency or 0.0) / (chosen.latency or 1.0)
    return Rival(row, times, (row.map or 0.0) - (chosen.map or 0.0), not as_good(chosen, row))


def fastest_of_models(rivals: Sequence[Rival]) -> list[Rival]:
    """Return the fastest rival of each model, in order of time."""
    first: dict[str, Rival] = {}
    for rival in rivals:
        first.setdefault(rival.row.model, rival)
    return list(first.values())


def headline(rivals: Sequence[Rival]) -> str:
    """Compare the chosen engine with the fastest rival."""
    if not rivals:
        return "nothing else is as good"
    fastest = rivals[0]
    times = fastest.times
    if times > 1 + ALIKE and fastest.better:
        return f"{figures.times(times)} the time buys {figures.signed(fastest.points)} points"
    if times > 1 + ALIKE:
        return f"{figures.times(times)} as fast as any reference with this mAP"
    speed = "as fast" if times >= 1 / (1 + ALIKE) else f"{figures.times(1 / times)} as fast"
    return f"{fastest.row.name} is {speed}, {figures.signed(fastest.points)} points"
