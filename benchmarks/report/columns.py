"""Columns of the table: what a row says, how it is written and how it sorts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.report import figures
from benchmarks.report.rows import Row

Write = Callable[[float | None], str]


@dataclass(frozen=True)
class Column:
    """`main` columns are shown at first; the others on demand.  `write` is None for words."""

    key: str
    title: str
    unit: str = ""
    write: Write | None = None
    main: bool = False

    def cell(self, row: Row) -> str:
        if self.write is None:
            return figures.plain(row.facts.get(self.key))
        return self.write(row.number(self.key))

    def order(self, row: Row) -> str:
        """What the cell sorts by; empty sorts last."""
        if self.write is None:
            return row.text(self.key)
        value = row.number(self.key)
        return "" if value is None else repr(value)


def _signed_fraction(value: float | None) -> str:
    return figures.signed(value, digits=2)


def _times_of(key: str, title: str, shown: tuple[str, ...]) -> tuple[Column, ...]:
    return tuple(
        Column(f"{key}.{name}", title, f"{name}, ms", figures.milliseconds, main=name in shown)
        for name in ("p50", "p90", "p99", "mean", "max")
    )


COLUMNS: tuple[Column, ...] = (
    Column("map", "mAP", "%", figures.points, main=True),
    Column("map_low", "mAP low", "%", figures.points),
    Column("map_high", "mAP high", "%", figures.points),
    Column("delta_map", "Δ mAP", "points", _signed_fraction, main=True),
    *_times_of("end_to_end_ms", "End to end", ("p50", "p90", "p99")),
    *_times_of("engine_ms", "Engine only", ("p50",)),
    Column("images_per_second_batch8", "Batch 8", "img/s", figures.count, main=True),
    Column("bytes", "Size", "MB", figures.megabytes, main=True),
    Column("peak_rss_mb", "Peak RSS", "MB", figures.count, main=True),
    Column("load_ms", "Load", "ms", figures.milliseconds, main=True),
    Column("first_ms", "First answer", "ms", figures.milliseconds),
    Column("map_major", "mAP major", "%", figures.points),
    Column("map_minor", "mAP minor", "%", figures.points),
    Column("cf1", "CF1", "%", figures.points),
    Column("of1", "OF1", "%", figures.points),
    *(
        Column(f"parts_ms.{part}", part.capitalize(), "ms", figures.milliseconds)
        for part in ("decode", "resize", "infer", "post")
    ),
    Column("spread", "Spread", "of processes", figures.percent),
    Column("unstable", "Unstable"),
    Column("settled", "Settled"),
    Column("model", "Model", main=True),
    Column("precision", "Precision", main=True),
    Column("threads", "Threads", "", figures.count, main=True),
    Column("runtime", "Runtime", main=True),
    Column("provider", "Provider", main=True),
    Column("compute", "Compute", main=True),
    Column("file", "File"),
    Column("sha256", "SHA-256"),
)
