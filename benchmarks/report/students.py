"""The students of a search: what each one is, its engine to deploy, and why one of them is in the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.report import figures
from benchmarks.report.comparison import significantly_different
from benchmarks.report.devices import of_device
from benchmarks.report.recommendation import budget_of, recommend
from benchmarks.report.rows import ReportRow
from benchmarks.report.verdict import Card, Verdict
from benchmarks.schema import STUDENT
from benchmarks.sections import SearchResult, SearchStudent

COLUMNS = (
    ("Student", False),
    ("Candidate", False),
    ("Role", False),
    ("px", True),
    ("Parameters, M", True),
    ("mAP in float", True),
    ("without a teacher", True),
    ("gain (95 %)", True),
    ("Engine to deploy", False),
    ("p90, ms", True),
    ("mAP", True),
    ("MB", True),
)  # title, and whether it is numeric


@dataclass(frozen=True)
class StudentLine:
    """A student, and its engine to deploy on the first device, if one was measured there."""

    student: SearchStudent
    engine: ReportRow | None

    @property
    def cells(self) -> tuple[str, ...]:
        """The texts of a table with COLUMNS."""
        student, engine = self.student, self.engine
        return (
            student.model,
            student.candidate,
            ", ".join(student.roles) or figures.ABSENT,
            figures.count(student.image_px),
            figures.ABSENT if student.parameters is None else f"{student.parameters / 1e6:.2f}",
            figures.points(student.student_map),
            figures.points(student.baseline_map),
            self._gain,
            engine.name if engine else "none was measured",
            figures.milliseconds(engine.latency if engine else None),
            figures.points(engine.map if engine else None),
            figures.megabytes(engine.bytes if engine else None),
        )

    @property
    def _gain(self) -> str:
        gain = self.student
        if gain.low is None or gain.high is None:
            return figures.signed(gain.difference)
        return f"{figures.signed(gain.difference)} ({figures.signed(gain.low)} to {figures.signed(gain.high)})"


def student_lines(search: SearchResult | None, rows: Sequence[ReportRow], first: Verdict | None) -> list[StudentLine]:
    """Return the students, the one in the bundle first; the engines are those of the device of a verdict."""
    if search is None:
        return []
    on_device, budget = of_device(rows, first.device) if first else [], budget_of(search)
    lines = []
    for student in sorted(search.students, key=lambda student: student.model != STUDENT):
        choice = recommend(on_device, budget, student.model)
        lines.append(StudentLine(student, choice.chosen if choice else None))
    return lines


def student_card(search: SearchResult | None, rows: Sequence[ReportRow], first: Verdict | None) -> Card | None:
    """Say which student is in the bundle and why, and what the other students are."""
    students = student_lines(search, rows, first)
    if search is None or not students or students[0].student.model != STUDENT:
        return None
    own, *others = students
    lines = [_why(search, own.student), _counts(search), *(_other(line, own.engine) for line in others)]
    return Card("Which student?", own.student.candidate, tuple(lines))


def budget_text(search: SearchResult) -> str:
    """Return the budget in words; empty without one."""
    p90 = f"{figures.milliseconds(search.max_p90_ms)} ms (p90)" if search.max_p90_ms is not None else ""
    size = f"{search.max_mb:g} MB" if search.max_mb is not None else ""
    return " and ".join(filter(None, (p90, size)))


def _why(search: SearchResult, student: SearchStudent) -> str:
    """The reason for the choice, and the mAP that the race gave it."""
    budget = budget_text(search)
    text = "the fastest of the students that are not significantly below the highest mAP on the split select"
    if "best" in student.roles:
        text = "highest mAP on the split select" + (f" of those within {budget}" if budget else "")
    raced = next((one for one in search.screen if one.candidate == student.candidate and one.select_map), None)
    if raced is None:
        return text
    epochs = figures.plural(raced.epochs, "epoch")
    return f"{text}; {figures.points(raced.select_map)} on select after {epochs} of the race"


def _counts(search: SearchResult) -> str:
    """How many candidates came how far."""
    names, screen = {one.candidate for one in search.screen}, search.screen
    kept = len({one.candidate for one in screen if one.kept})
    raced = len({one.candidate for one in screen if one.select_map is not None})
    within = f"{kept} within the budget, " if budget_text(search) else ""
    candidates = figures.plural(len(names), "candidate")
    return f"{candidates}: {within}{raced} trained in the race, {len(search.students)} of them fully"


def _other(line: StudentLine, chosen: ReportRow | None) -> str:
    """Another student beside the engine to deploy."""
    name, engine = f"{line.student.model} is {line.student.candidate}", line.engine
    if engine is None:
        return f"{name}: not measured"
    text = f"{name}: {figures.milliseconds(engine.latency)} ms with {figures.points(engine.map)} mAP"
    if chosen is None or chosen.map is None or engine.map is None:
        return text
    shown = "" if significantly_different(engine, chosen) else ", not significant"
    return f"{text} ({figures.signed(engine.map - chosen.map)} points{shown})"
