"""The answers of the page: which engine and student, at what cost, for which tags, with what gain."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.report import figures
from benchmarks.report.comparison import UNKNOWN
from benchmarks.report.equal_map import fastest_of_models, headline, rivals
from benchmarks.report.labels import Tag
from benchmarks.report.rows import ReportRow
from benchmarks.report.students import student_card
from benchmarks.report.verdict import Card, Verdict
from benchmarks.schema import Report
from benchmarks.sections import Distillation, Int8Gain, PairedDifference


def answer(
    report: Report, rows: Sequence[ReportRow], verdicts: Sequence[Verdict], tags: Sequence[Tag], int8: ReportRow | None
) -> tuple[Card, ...]:
    """Answer the questions of the page; costs are those of the first device that has an engine to deploy."""
    first = next((verdict for verdict in verdicts if verdict.chosen), None)
    chosen = first.chosen if first else None
    cards = (
        _which(verdicts, first),
        student_card(report.search, rows, first),
        _cost(chosen, _teacher(rows, chosen)),
        _tags(tags, int8, report.distillation),
        _equal(rows, chosen, report.distillation.low if report.distillation else None),
        _distillation(report.distillation),
        _int8_gain(report.int8_gain),
    )
    return tuple(card for card in cards if card is not None)


def _teacher(rows: Sequence[ReportRow], chosen: ReportRow | None) -> ReportRow | None:
    """The fastest way the teacher itself was run on the same device."""
    taught = (row for row in rows if row.plotted and row.model == "teacher" and chosen)
    return next((row for row in taught if chosen and row.device == chosen.device), None)


def _which(verdicts: Sequence[Verdict], first: Verdict | None) -> Card:
    question = "Which engine?"
    if first is None or first.chosen is None:
        return Card(question, "none", ("no engine was measured with a latency and a mAP",))
    chosen = first.chosen
    where = [
        f"on {first.device.name}" if len(verdicts) > 1 else "",
        figures.plural(chosen.threads, "thread") if chosen.threads else "",
    ]
    others = (verdict for verdict in verdicts if verdict is not first)
    return Card(
        question,
        chosen.name,
        (
            ", ".join([f"{figures.milliseconds(chosen.latency)} ms end to end (p90)", *filter(None, where)]),
            "fastest of those that tag as well as the best" if chosen.interval else f"fastest; {UNKNOWN}",
            *chosen.warnings,
            *filter(None, (chosen.elsewhere,)),
            *(
                ", ".join(
                    [
                        f"on {other.device.name}: {other.chosen.name}",
                        f"{figures.milliseconds(other.chosen.latency)} ms",
                        *other.chosen.warnings,
                    ]
                )
                for other in others
                if other.chosen
            ),
        ),
    )


def _equal(rows: Sequence[ReportRow], chosen: ReportRow | None, gain_low: float | None) -> Card | None:
    """Latency at equal mAP, against everything else that could have been done.

    A student without a teacher is no rival where the paired interval of what the teacher gave lies above 0.
    """
    if chosen is None or not any(row.plotted and not row.engine and row.device == chosen.device for row in rows):
        return None
    worse = gain_low is not None and gain_low > 0
    references = rivals([row for row in rows if not (worse and row.model == "baseline")], chosen)
    lines = [rival.text for rival in fastest_of_models(references)]
    basis = "references whose mAP is not shown to be lower, end to end p90"
    basis += "; this student without a teacher tags worse (paired interval, for the choice of images)" if worse else ""
    return Card("Latency at equal mAP?", headline(references), (*lines, basis))


def _cost(chosen: ReportRow | None, teacher: ReportRow | None) -> Card | None:
    if chosen is None:
        return None
    within = figures.interval(chosen.map_low, chosen.map_high)
    size, memory = figures.megabytes(chosen.bytes), figures.count(chosen.peak_rss_mb)
    lines = [f"95 % interval {within}"] if within else []
    lines.append(f"{size} MB on disk, {memory} MB in memory")
    return Card("At what cost?", f"{figures.points(chosen.map)} mAP", (*lines, *_against(chosen, teacher)))


def _against(chosen: ReportRow, teacher: ReportRow | None) -> list[str]:
    """The chosen engine beside the teacher: mAP, speed, size."""
    if teacher is None or teacher.map is None or chosen.map is None:
        return []
    difference = figures.signed(chosen.map - teacher.map)
    faster, smaller = _ratio(teacher.latency, chosen.latency), _ratio(teacher.bytes, chosen.bytes)
    gains = [f"{figures.times(faster)} as fast"] if faster else []
    gains += [f"{figures.times(smaller)} smaller"] if smaller else []
    return [f"against {teacher.name} ({figures.points(teacher.map)}): {', '.join([f'{difference} points', *gains])}"]


def _ratio(whole: float | None, part: float | None) -> float | None:
    return whole / part if whole and part else None


def _tags(tags: Sequence[Tag], int8: ReportRow | None, distillation: Distillation | None) -> Card | None:
    """The labels that lose most from the teacher, and how many lose nothing."""
    losses = [(tag.label, tag.loss) for tag in tags if tag.loss is not None]
    if not losses:
        return None
    worst = [(label, loss) for label, loss in losses[:3] if loss < 0]
    unharmed = sum(loss >= -0.01 for _, loss in losses)
    return Card(
        "Which tags pay?",
        ", ".join(label for label, _ in worst) or "none",
        (
            *((f"AP {', '.join(figures.signed(loss) for _, loss in worst)} points",) if worst else ()),
            f"from the teacher to {int8.name if int8 else 'the student'}",
            f"{unharmed} of {len(losses)} labels lose less than 1 point",
            *_roles(distillation),
        ),
    )


def _roles(distillation: Distillation | None) -> list[str]:
    """What major and minor instances lose from the teacher to the student."""
    if distillation is None:
        return []
    pairs = (("major", distillation.major), ("minor", distillation.minor))
    lost = [
        f"{role} instances {figures.signed(maps.student - maps.teacher)}"
        for role, maps in pairs
        if maps.student is not None and maps.teacher is not None
    ]
    return ["teacher to student: " + ", ".join(lost)] if lost else []


def _distillation(distillation: Distillation | None) -> Card | None:
    if distillation is None or distillation.difference is None:
        return None
    student, baseline, teacher = (
        figures.points(value)
        for value in (distillation.student_map, distillation.baseline_map, distillation.teacher_map)
    )
    span = f"{figures.signed(distillation.low)} to {figures.signed(distillation.high)}"
    known = distillation.low is not None
    return Card(
        "Did the teacher help?",
        f"{figures.signed(distillation.difference)} mAP",
        (
            *([f"paired 95 % interval {span}, of these two files"] if known else []),
            f"student {student} against {baseline} without a teacher; teacher {teacher}",
            _meaning(distillation),
            "one training each: the interval is for the choice of images, not of seeds (several: make compare)",
        ),
    )


def _meaning(gain: PairedDifference) -> str:
    if gain.low is None or gain.high is None:
        return "too few test images for an interval: nothing is shown"
    if gain.low > 0:
        return "this student tags better than this baseline: the interval lies above 0"
    if gain.high < 0:
        return "this student tags worse than this baseline: the interval lies below 0"
    return "the interval contains 0: no difference between these two students is shown"


def _int8_gain(gain: Int8Gain | None) -> Card | None:
    if gain is None:
        return None
    pairs = ((gain.vs_f32, gain.kept_of_f32_map, "f32"), (gain.vs_bf16, gain.kept_of_bf16_map, "bf16"))
    known = [(ratio, kept, kind) for ratio, kept, kind in pairs if ratio is not None]
    if not known:
        return None
    (ratio, kept, kind), *others = known
    lines = [f"with {figures.percent(kept)} of its mAP"]
    lines += [
        f"{figures.times(ratio)} the speed of {name}, with {figures.percent(kept)} of its mAP"
        for ratio, kept, name in others
    ]
    return Card(
        "Did int8 pay?", f"{figures.times(ratio)} the speed of {kind}", (*lines, f"{gain.name}, engine alone (p50)")
    )
