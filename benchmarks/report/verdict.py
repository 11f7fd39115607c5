"""Which engine to ship, and the sentences that answer: which one, at what cost, for which tags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.report import figures
from benchmarks.report.pareto import front, overlapping
from benchmarks.report.rows import Facts, Row
from benchmarks.report.tags import Tag

KEPT = 0.99  # of the best student mAP: what an engine may cost and still be chosen for speed


@dataclass(frozen=True)
class Card:
    """A question, its answer in a word, and what supports it."""

    question: str
    answer: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    chosen: Row | None
    floor: float | None  # mAP that an engine must keep
    front: list[Row]
    front_line: str
    cards: tuple[Card, ...]


def judge(bench: Facts, rows: Sequence[Row], tags: Sequence[Tag], int8: Row | None) -> Verdict:
    """The fastest engine within 1 % of the best student mAP, and what that choice costs."""
    best = max((row.accuracy or 0.0 for row in rows if row.measured and row.text("model") == "student"), default=None)
    floor = None if best is None else KEPT * best
    candidates = [
        row for row in rows if row.engine and row.plotted and floor is not None and (row.accuracy or 0) >= floor
    ]
    chosen = min(candidates, key=lambda row: row.latency or 0.0, default=None)
    kept = front(rows)
    cards = (
        _which(chosen, best),
        _cost(chosen, _teacher(rows)),
        _tags(tags, int8, bench.get("distillation") or {}),
        _distillation(bench.get("distillation") or {}),
        _int8_gain(bench.get("int8_gain") or {}),
    )
    return Verdict(chosen, floor, kept, _front_line(kept), tuple(card for card in cards if card is not None))


def _teacher(rows: Sequence[Row]) -> Row | None:
    """The fastest way the teacher was run."""
    return next((row for row in rows if row.measured and row.text("model") == "teacher"), None)


def _which(chosen: Row | None, best: float | None) -> Card:
    question = "Which engine?"
    if chosen is None:
        reason = (
            "no engine was measured with a latency and a mAP"
            if best is None
            else (f"no measured engine keeps 99 % of the best student mAP ({figures.points(best)})")
        )
        return Card(question, "none", (reason,))
    threads = chosen.number("threads")
    return Card(
        question,
        chosen.name,
        (
            f"{figures.milliseconds(chosen.latency)} ms end to end (p90), "
            f"{figures.milliseconds(chosen.number('engine_ms.p50'))} ms in the engine (p50)"
            + (f", {figures.count(threads)} thread{'s' if threads > 1 else ''}" if threads else ""),
            f"fastest within 1 % of the best student mAP ({figures.points(best)})",
            *chosen.warnings,
        ),
    )


def _cost(chosen: Row | None, teacher: Row | None) -> Card | None:
    if chosen is None:
        return None
    within = figures.interval(chosen.number("map_low"), chosen.number("map_high"))
    size, memory = figures.megabytes(chosen.number("bytes")), figures.count(chosen.number("peak_rss_mb"))
    lines = [f"95 % interval {within}"] if within else []
    lines.append(f"{size} MB on disk, {memory} MB in memory")
    return Card("At what cost?", f"{figures.points(chosen.accuracy)} mAP", (*lines, *_against(chosen, teacher)))


def _against(chosen: Row, teacher: Row | None) -> list[str]:
    """The chosen engine beside the teacher: mAP, speed, size."""
    if teacher is None or teacher.accuracy is None or chosen.accuracy is None:
        return []
    difference = figures.signed(chosen.accuracy - teacher.accuracy)
    faster, smaller = _ratio(teacher.latency, chosen.latency), _ratio(teacher.number("bytes"), chosen.number("bytes"))
    gains = [f"{figures.times(faster)} faster"] if faster else []
    gains += [f"{figures.times(smaller)} smaller"] if smaller else []
    return [
        f"against {teacher.name} ({figures.points(teacher.accuracy)}): {', '.join([f'{difference} points', *gains])}"
    ]


def _ratio(whole: float | None, part: float | None) -> float | None:
    return whole / part if whole and part else None


def _tags(tags: Sequence[Tag], int8: Row | None, distillation: Facts) -> Card | None:
    """The labels that lose most from the teacher, and how many lose nothing."""
    losses = [(tag.label, tag.loss) for tag in tags if tag.loss is not None]
    if not losses:
        return None
    worst = [(label, loss) for label, loss in losses[:3] if loss < 0]
    kept = sum(loss >= -0.01 for _, loss in losses)
    return Card(
        "Which tags pay?",
        ", ".join(label for label, _ in worst) or "none",
        (
            *((f"AP {', '.join(figures.signed(loss) for _, loss in worst)} points",) if worst else ()),
            f"from the teacher to {int8.name if int8 else 'the student'}",
            f"{kept} of {len(losses)} labels lose less than 1 point",
            *_roles(distillation),
        ),
    )


def _roles(distillation: Facts) -> list[str]:
    """What major and minor instances lose from the teacher to the student."""
    pairs = {role: distillation.get(role) or {} for role in ("major", "minor")}
    known = [(role, pair) for role, pair in pairs.items() if None not in (pair.get("teacher"), pair.get("student"))]
    told = [f"{role} instances {figures.signed(pair['student'] - pair['teacher'])}" for role, pair in known]
    return ["teacher to student: " + ", ".join(told)] if told else []


def _distillation(facts: Facts) -> Card | None:
    difference, low, high = (facts.get(key) for key in ("difference", "low", "high"))
    if difference is None:
        return None
    means = "the interval contains 0: no difference shown"
    if low is not None and low > 0:
        means = "distilling helps: the interval lies above 0"
    elif high is not None and high < 0:
        means = "distilling hurts: the interval lies below 0"
    student, baseline, teacher = (figures.points(facts.get(f"{net}_map")) for net in ("student", "baseline", "teacher"))
    span = f"{figures.signed(low)} to {figures.signed(high)}"
    return Card(
        "Did the teacher help?",
        f"{figures.signed(difference)} mAP",
        (
            f"paired 95 % interval {span}",
            f"student {student} against {baseline} without a teacher; teacher {teacher}",
            means,
        ),
    )


def _int8_gain(facts: Facts) -> Card | None:
    if not facts.get("name"):
        return None
    pairs = ((facts.get(f"vs_{kind}"), facts.get(f"kept_of_{kind}_map"), kind) for kind in ("f32", "bf16"))
    found = [(ratio, kept, kind) for ratio, kept, kind in pairs if ratio is not None]
    if not found:
        return None
    (ratio, kept, kind), *others = found
    lines = [f"with {figures.percent(kept)} of its mAP"]
    lines += [
        f"{figures.times(ratio)} the speed of {name}, with {figures.percent(kept)} of its mAP"
        for ratio, kept, name in others
    ]
    return Card(
        "Did int8 pay?", f"{figures.times(ratio)} the speed of {kind}", (*lines, f"{facts['name']}, engine alone (p50)")
    )


def _front_line(kept: Sequence[Row]) -> str:
    if not kept:
        return "No engine was measured with both a latency and a mAP."
    line = "Pareto front among engines: " + " → ".join(row.name for row in kept) + "."
    close = overlapping(kept)
    if close:
        pairs = ", ".join(f"{a.name} and {b.name}" for a, b in close)
        line += f" The mAP intervals overlap between {pairs}: which of them tags better is not shown by this test."
    return line
