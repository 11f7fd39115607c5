"""How good the decisions of one row are: at 0.5, at its own thresholds, and for a fixed number of tags an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.report.rows import Row

POINTS = {
    "half": "scores of at least 0.5",
    "tuned": "its own thresholds",
    "top_3": "the three best tags",
    "oracle_k": "as many tags as are true",
}
COLUMNS = {
    "cf1": "CF1", "mean_precision": "precision", "mean_recall": "recall", "of1": "OF1",
    "pooled_precision": "pooled precision", "pooled_recall": "pooled recall",
}  # fmt: skip


@dataclass(frozen=True)
class Decisions:
    """A table: rows of what is decided by, columns of how good that is, fractions in 0..1."""

    name: str
    titles: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]


def read_decisions(rows: Sequence[Row], chosen: Row | None) -> Decisions | None:
    """Return those of the chosen engine, else of the first row that has any; None without."""
    for row in [*([chosen] if chosen else []), *rows]:
        if row.operating_points is not None:
            points = [(text, getattr(row.operating_points, name)) for name, text in POINTS.items()]
            table = tuple((text, tuple(getattr(point, column) for column in COLUMNS)) for text, point in points)
            return Decisions(row.name, tuple(COLUMNS.values()), table)
    return None
