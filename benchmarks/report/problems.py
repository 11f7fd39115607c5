"""Problems that a reader must know before the numbers: in the data, an idle teacher, a short training."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.report import figures
from benchmarks.report.comparison import KEPT, as_good
from benchmarks.report.corrections import worse_than_before
from benchmarks.report.devices import of_device
from benchmarks.report.equal_map import ALIKE
from benchmarks.report.recommendation import budget_of, closest, misses, pick
from benchmarks.report.rows import ReportRow
from benchmarks.report.verdict import Verdict
from benchmarks.schema import Report
from benchmarks.sections import Distillation, Finding, PairedDifference, SearchResult
from export.tagger.limits import WRONG_TAGS

RISING = 0.005  # mAP: on a flat curve whose epochs scatter by 0.3 points, at most 1 run in 20 ends so far up
CHECK = (
    "if the teacher is a network of your own, check the order of its labels, its channels, value range, mean and std"
)


def problems(report: Report, rows: Sequence[ReportRow], verdicts: Sequence[Verdict]) -> tuple[Finding, ...]:
    """Return the problems of a run, the most important first."""
    distillation = report.distillation
    candidates = (
        *of_distillation(distillation),
        worse_than_before(report.continued),
        *(over_budget(of_device(rows, verdict.device), report.search) for verdict in verdicts),
        *(better_student(of_device(rows, verdict.device), verdict.chosen) for verdict in verdicts),
        *(wrong_engines(of_device(rows, verdict.device)) for verdict in verdicts),
        _short_training(report.training),
        *(_better_reference(rows, verdict, distillation) for verdict in verdicts),
        *report.findings,
    )
    return tuple(problem for problem in candidates if problem is not None)


def better_student(rows: Sequence[ReportRow], chosen: ReportRow | None) -> Finding | None:
    """Another student of the search is faster than the engine to deploy, and tags as well; rows of one device."""
    if chosen is None:
        return None
    others = [row for row in rows if row.engine and row.plotted and row.model != chosen.model]
    better = [row for row in others if (row.latency or 0.0) < (chosen.latency or 0.0) and as_good(row, chosen)]
    if not better:
        return None
    first = min(better, key=lambda row: row.latency or 0.0)
    times = f"{figures.milliseconds(first.latency)} ms, {chosen.name} {figures.milliseconds(chosen.latency)} ms"
    return Finding(
        claim=f"Another student of the search is faster and tags as well: {first.model}.",
        numbers=f"{first.name} takes {times}; mAP {figures.points(first.map)} and {figures.points(chosen.map)}. The "
        "search chose by the times of its screen; publish the other one with STUDENT, or search again on a quiet "
        "machine.",
    )


def of_distillation(distillation: Distillation | None) -> tuple[Finding, ...]:
    """Return what is wrong with the teacher or with what it taught."""
    if distillation is None:
        return ()
    return tuple(
        problem for problem in (_idle_teacher(distillation), _weak_teacher(distillation)) if problem is not None
    )


def _idle_teacher(distillation: Distillation) -> Finding | None:
    """The student is not shown to be better than the same net without a teacher."""
    if distillation.low is None or distillation.low > 0:
        return None
    worse = distillation.high is not None and distillation.high < 0
    claim = "worse than" if worse else "not shown to be better than"
    student, baseline = figures.points(distillation.student_map), figures.points(distillation.baseline_map)
    return Finding(
        claim=f"The student is {claim} the same network trained without a teacher.",
        numbers=f"mAP {student} with the teacher, {baseline} without; {_difference(distillation)}.",
    )


def _weak_teacher(distillation: Distillation) -> Finding | None:
    """The teacher is not shown to be better than the student, or by less than 1 % of its mAP."""
    gap, teacher, student = distillation.teacher_gain, distillation.teacher_map, distillation.student_map
    if teacher is None or student is None or gap.low is None:
        return None
    if gap.low > 0 and student < KEPT * teacher:
        return None
    worse = gap.high is not None and gap.high < 0
    claim = "worse than" if worse else "hardly better than" if gap.low > 0 else "not shown to be better than"
    baseline, advice = distillation.baseline_map, "Train the teacher longer or choose a larger one."
    if baseline is not None and teacher < baseline:
        advice = f"Without a teacher the student has {figures.points(baseline)}: {CHECK}, or train it longer."
    return Finding(
        claim=f"The teacher is {claim} its student.",
        numbers=f"mAP {figures.points(teacher)} for the teacher, {figures.points(student)} for the student; "
        f"{_difference(gap)}. {advice}",
    )


def _difference(gain: PairedDifference) -> str:
    span = f"{figures.signed(gain.low)} to {figures.signed(gain.high)}"
    return f"difference {figures.signed(gain.difference)}, paired 95 % interval {span}"


def over_budget(rows: Sequence[ReportRow], search: SearchResult | None) -> Finding | None:
    """No engine of the bundle's student keeps the budget of the search; `rows` are of one device."""
    budget = budget_of(search)
    near = closest([row for row in rows if row.in_bundle], budget)
    missed = misses(near, budget) if near else {}
    if near is None or not missed:
        return None
    other = pick([row for row in rows if row.engine and not row.in_bundle], budget)
    instead = "No other student of the search keeps it."
    if other:
        name, latency, accuracy = other.chosen.name, other.chosen.latency, other.chosen.map
        instead = (
            f"{name} keeps it: {figures.milliseconds(latency)} ms with {figures.points(accuracy)} mAP; publish that "
            f"student with STUDENT={other.chosen.model}."
        )
    return Finding(
        claim=f"No engine of the student keeps the budget of the search on {near.device}.",
        numbers=f"Closest is {near.name}: {'; '.join(words for _, words in missed.values())}. The engine to deploy is "
        f"chosen without the budget. {instead}",
    )


def wrong_engines(rows: Sequence[ReportRow]) -> Finding | None:
    """Engines of the bundle's student whose scores are not those of the self-test; `rows` are of one device."""
    wrong = [row for row in rows if row.in_bundle and (row.reason or "").startswith(WRONG_TAGS)]
    if not wrong:
        return None
    return Finding(
        claim=f"{figures.plural(len(wrong), 'engine')} of the bundle cannot be used on {wrong[0].device}.",
        numbers=" ".join(f"{row.name}: {row.reason}." for row in wrong),
    )


def _short_training(training: Mapping[str, Sequence[Mapping[str, Any]]]) -> Finding | None:
    """Teacher or student was still getting better when its training ended."""
    rising = []
    for net in ("student", "teacher"):
        values = [epoch.get("select_map") for epoch in training.get(net, ())]
        curve = [value for value in values if isinstance(value, float)]
        gain = last_gain(curve)
        if gain is not None:
            before, last = figures.points(curve[-1] - gain), figures.points(curve[-1])
            rising.append(f"{net} {before} → {last} (about {figures.signed(gain)} an epoch)")
    if not rising:
        return None
    return Finding(
        claim="mAP was still rising at the last epoch.",
        numbers=f"On the validation split select: {', '.join(rising)}. Train longer.",
    )


def last_gain(curve: Sequence[float]) -> float | None:
    """What the last epoch added to the best one before; None where that is no more than noise.

    Noise is half a point, or the largest fall between two epochs of the second half.  The learning rate falls towards
    the end, which makes gains smaller: one that is left there would go on with more epochs.
    """
    if len(curve) < 2:
        return None
    gain = curve[-1] - max(curve[:-1])
    falls = [before - after for before, after in itertools.pairwise(curve[(len(curve) - 1) // 2 :])]
    return gain if gain >= RISING and gain > max(falls) else None


def _better_reference(rows: Sequence[ReportRow], verdict: Verdict, distillation: Distillation | None) -> Finding | None:
    """A reference beats the recommended engine: as fast and better, or faster and as good.

    A student without a teacher whose paired interval lies below the student's does not.
    """
    chosen = verdict.chosen
    if chosen is None:
        return None
    helped = distillation is not None and (distillation.low or 0.0) > 0
    others = [row for row in of_device(rows, verdict.device) if not row.engine and row.plotted]
    beating = [row for row in others if _beats(row, chosen) and not (helped and row.model == "baseline")]
    if not beating:
        return None
    best = max(beating, key=lambda row: (row.map or 0.0, -(row.latency or 0.0)))
    return Finding(
        claim=f"A reference beats the recommended engine on {verdict.device.name}.",
        numbers=f"{_named(best)}; recommended: {_named(chosen)}.",
    )


def _beats(row: ReportRow, chosen: ReportRow) -> bool:
    ours, theirs = chosen.latency or 0.0, row.latency or 0.0
    better, faster = not as_good(chosen, row), theirs * (1 + ALIKE) < ours
    return (theirs <= ours * (1 + ALIKE) and better) or (faster and as_good(row, chosen))


def _named(row: ReportRow) -> str:
    return f"{row.name} {figures.points(row.map)} mAP in {figures.milliseconds(row.latency)} ms (p90)"
