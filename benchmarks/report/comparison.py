"""Whether two rows differ in mAP, and which are as good as the best."""

from __future__ import annotations

import dataclasses

from benchmarks.report.rows import ReportRow

UNKNOWN = "there are too few test images to compare mAP"
KEPT = 0.99  # of the best mAP: what an engine may lose and still count as as good
CREDITED = ("map", "map_low", "map_high", "delta_map", "delta_low", "delta_high", "vs_student_low", "vs_student_high")


def as_good(row: ReportRow, best: ReportRow) -> bool:
    """Whether a row is within 1 % of the best mAP, or not significantly different; its own gain does not count."""
    return credit(row) >= KEPT * credit(best) or not significantly_different(credited(row), credited(best))


def credited(row: ReportRow) -> ReportRow:
    """Return the row without its gain over the float scores of its own model, intervals shifted with it.

    Rounding adds no mAP: such a gain is chance or comes from another training, and is no reason to prefer an engine.
    """
    known = {name: getattr(row, name) for name in CREDITED if getattr(row, name) is not None}
    return dataclasses.replace(row, **{name: value - row.gain for name, value in known.items()})


def credit(row: ReportRow) -> float:
    """Return the mAP of a row without its gain."""
    return credited(row).map or 0.0


def significantly_different(row: ReportRow, other: ReportRow) -> bool:
    """Whether the intervals of two rows do not overlap.

    Uses the paired intervals to the same float scores where both rows have them, as they are narrower than those of
    mAP: to those of their own model for rows of one model, else to those of the bundle's student.  Rows without
    intervals differ unless they are equal.
    """
    same = row.model == other.model
    pair = (row.change, other.change) if same else (row.versus_student, other.versus_student)
    if pair[0] is None or pair[1] is None:
        pair = (row.interval, other.interval)
    if pair[0] is None or pair[1] is None:
        return row.map != other.map
    return pair[0][1] < pair[1][0] or pair[1][1] < pair[0][0]
