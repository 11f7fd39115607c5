"""What compression cost each label: AP of teacher, student and the int8 engine, the biggest losses first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.report.images import Mistake
from benchmarks.report.rows import Facts, Row

SHOWN = 100  # labels; the page folds the rest


@dataclass(frozen=True)
class Tag:
    """AP as fractions; None where it was not measured or the label has no positive."""

    label: str
    positives: int | None
    teacher: float | None
    student: float | None
    baseline: float | None
    int8: float | None
    mistakes: tuple[Mistake, ...] = ()

    @property
    def loss(self) -> float | None:
        """From the teacher to the last thing measured: the int8 engine, else the student; negative = worse."""
        last = self.int8 if self.int8 is not None else self.student
        return None if last is None or self.teacher is None else last - self.teacher


def int8_row(rows: list[Row], named: str | None) -> Row | None:
    """The int8 engine the bench names, else the fastest one measured."""
    found = [row for row in rows if row.engine and row.measured and row.text("precision").startswith("int8")]
    return next((row for row in found if row.name == named), found[0] if found else None)


def read_tags(bench: Facts, int8: Row | None, mistakes: Mapping[str, Sequence[Mistake]]) -> list[Tag]:
    """Every label of the bench, also those the distillation says nothing about."""
    known = {str(entry.get("label")): entry for entry in (bench.get("distillation") or {}).get("labels") or ()}
    tags = [
        _tag(str(label), known.get(str(label), {}), int8.ap(at) if int8 else None, mistakes.get(str(label), ()))
        for at, label in enumerate(bench.get("labels") or ())
    ]
    return sorted(tags, key=lambda tag: (math.inf if tag.loss is None else tag.loss, tag.label))


def _tag(label: str, entry: Facts, int8: float | None, mistakes: Sequence[Mistake]) -> Tag:
    return Tag(
        label=label,
        positives=entry.get("positives"),
        teacher=entry.get("teacher"),
        student=entry.get("student"),
        baseline=entry.get("baseline"),
        int8=int8,
        mistakes=tuple(mistakes),
    )
