"""Which engine to deploy on each device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.report.devices import Device, of_device
from benchmarks.report.pareto import front, front_line
from benchmarks.report.recommendation import Choice, Limits, recommend, why
from benchmarks.report.rows import ReportRow
from benchmarks.sections import DeviceVerdict


@dataclass(frozen=True)
class Card:
    """A question, its answer in a word, and what supports it."""

    question: str
    answer: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """What is said of one device."""

    device: Device
    choice: Choice | None
    front: list[ReportRow]
    front_line: str

    @property
    def chosen(self) -> ReportRow | None:
        return self.choice.chosen if self.choice else None

    @property
    def why(self) -> str:
        return why(self.choice) if self.choice else "No engine was measured here with a latency and a mAP."

    def published(self) -> DeviceVerdict:
        """Return the verdict as report.json holds it."""
        runner_up = self.choice.runner_up if self.choice else None
        return DeviceVerdict(
            device=self.device.name,
            engine=self.chosen.name if self.chosen else None,
            why=self.why,
            runner_up=runner_up.name if runner_up else None,
            pareto_front=[row.name for row in self.front],
        )


def judge(rows: Sequence[ReportRow], devices: Sequence[Device], budget: Limits) -> list[Verdict]:
    """Return one verdict for each device, in their order: an engine of the bundle's student within the budget.

    The Pareto front is that of all students.
    """
    verdicts = []
    for device in devices:
        on_device = of_device(rows, device)
        best = front(on_device)
        verdicts.append(Verdict(device, recommend(on_device, budget), best, front_line(on_device, best)))
    return verdicts
