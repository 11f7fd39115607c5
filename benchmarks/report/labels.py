"""What compression cost each label: AP of teacher, student and the int8 engine, the biggest losses first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.report.images import ShownMistake
from benchmarks.report.rows import ReportRow
from benchmarks.schema import Report
from benchmarks.sections import LabelValues

SHOWN = 100  # labels; the page folds the rest


@dataclass(frozen=True, kw_only=True)
class Tag(LabelValues):
    """AP as fractions; None where it was not measured or the label has no positive."""

    int8: float | None
    mistakes: tuple[ShownMistake, ...] = ()

    @property
    def loss(self) -> float | None:
        """From the teacher to the last thing measured: the int8 engine, else the student; negative = worse."""
        last = self.int8 if self.int8 is not None else self.student
        return None if last is None or self.teacher is None else last - self.teacher


def int8_row(rows: list[ReportRow], named: str | None) -> ReportRow | None:
    """The int8 engine the bench names, else the fastest one measured of the bundle."""
    quantized = [row for row in rows if row.in_bundle and row.measured and (row.precision or "").startswith("int8")]
    return next((row for row in quantized if row.name == named), quantized[0] if quantized else None)


def read_tags(report: Report, int8: ReportRow | None, mistakes: Mapping[str, Sequence[ShownMistake]]) -> list[Tag]:
    """Return every label of the report, also those the distillation says nothing about."""
    known = {entry.label: entry for entry in report.distillation.labels} if report.distillation else {}
    tags = []
    for index, label in enumerate(report.labels):
        values = known.get(label, LabelValues(label=label))
        ap = int8.label_ap(index) if int8 else None
        tags.append(Tag(**vars(values), int8=ap, mistakes=tuple(mistakes.get(label, ()))))
    return sorted(tags, key=lambda tag: (math.inf if tag.loss is None else tag.loss, tag.label))
