"""Columns of the tables: what a row says, how it is written and how it sorts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from benchmarks.report import figures
from benchmarks.report.rows import ReportRow

OPERATING_POINTS = {
    "half": "scores of at least 0.5",
    "tuned": "its own thresholds",
    "top_3": "the three best tags",
    "oracle_k": "as many tags as are true",
}
DECISIONS = {
    "cf1": "CF1", "mean_precision": "precision", "mean_recall": "recall", "of1": "OF1",
    "pooled_precision": "pooled precision", "pooled_recall": "pooled recall",
}  # fmt: skip

Write = Callable[[float | None], str]
Pair = Callable[[float | None, float | None], str]


@dataclass(frozen=True)
class Column:
    """`main` columns are shown at first; the others on demand.  `write` is None for words.

    A column with `ends` writes two numbers, named by a dotted path each, and sorts by `key`.
    """

    key: str
    title: str
    unit: str = ""
    write: Write | None = None
    main: bool = False
    ends: tuple[str, str] | None = None
    pair: Pair = figures.between

    @property
    def numeric(self) -> bool:
        return self.write is not None or self.ends is not None

    def cell(self, row: ReportRow) -> str:
        if self.ends is not None:
            return self.pair(*(row.number(end) for end in self.ends)) or figures.ABSENT
        if self.write is None:
            return figures.plain(row.value(self.key))
        return self.write(row.number(self.key))

    def order(self, row: ReportRow) -> str:
        """What the cell sorts by; empty sorts last."""
        value = row.number(self.key) if self.numeric else row.value(self.key)
        return "" if value is None else repr(value) if self.numeric else str(value)


def _times_of(key: str, title: str, shown: tuple[str, ...]) -> tuple[Column, ...]:
    return tuple(
        Column(f"{key}.{name}", title, unit, figures.milliseconds, main=name in shown)
        for name, unit in (
            ("p90", "p90, ms"),
            ("p50", "p50, ms"),
            ("p99", "p99, ms"),
            ("mean", "mean, ms"),
            ("max", "max, ms"),
            ("p90_bound", "p90 bound, ms"),
        )
    )


COLUMNS: tuple[Column, ...] = (
    Column("device", "Device", main=True),
    *_times_of("end_to_end_ms", "End to end", ("p90",)),
    Column("map", "mAP", "%", figures.points, main=True),
    Column("map_low", "mAP", "95 % interval", main=True, ends=("map_low", "map_high"), pair=figures.interval),
    Column("delta_map", "Δ mAP", "points", partial(figures.signed, digits=2), main=True),
    Column("delta_low", "Δ mAP", "95 % interval", ends=("delta_low", "delta_high"), pair=figures.signed_interval),
    Column(
        "vs_student_low",
        "mAP minus the student's",
        "95 % interval",
        ends=("vs_student_low", "vs_student_high"),
        pair=figures.signed_interval,
    ),
    Column("flipped", "Decisions", "flipped", figures.share, main=True),
    *_times_of("engine_ms", "Engine only", ("p50",)),
    Column("bytes", "Size", "MB", figures.megabytes, main=True),
    Column("peak_rss_mb", "Peak RSS", "MB", figures.count, main=True),
    Column("gpu_memory_mb", "GPU memory", "MB", figures.count),
    Column("throughput.images_per_second", "Throughput", "img/s", figures.count),
    Column("energy.mj_per_query", "Energy", "mJ a query", figures.milliseconds),
    Column("energy.meter", "Meter"),
    Column("clock_mhz.before", "Clock", "MHz", ends=("clock_mhz.before", "clock_mhz.after")),
    Column("temperature_c.before", "Temperature", "°C", ends=("temperature_c.before", "temperature_c.after")),
    Column("load_ms", "Load", "ms", figures.milliseconds),
    Column("first_ms", "First answer", "ms", figures.milliseconds),
    Column("map_major", "mAP major", "%", figures.points),
    Column("map_minor", "mAP minor", "%", figures.points),
    Column("cf1", "CF1", "%", figures.points),
    Column("of1", "OF1", "%", figures.points),
    *(
        Column(f"parts_ms.{part}", part.capitalize(), "ms", figures.milliseconds)
        for part in ("decode", "resize", "infer", "post")
    ),
    Column("spread", "Spread", "of p50", figures.percent),
    Column("queries", "Queries", "", figures.count),
    Column("unstable", "Unstable"),
    Column("settled", "Settled"),
    Column("model", "Model"),
    Column("precision", "Precision"),
    Column("threads", "Threads", "", figures.count),
    Column("runtime", "Runtime"),
    Column("provider", "Provider"),
    Column("compute", "Compute"),
    Column("map_from.device", "mAP from"),
    Column("map_from.instruction_set", "Instruction set"),
    Column("file", "File"),
    Column("sha256", "SHA-256"),
)

SUSTAINED = (
    Column("sustained.seconds", "Seconds", write=figures.count),
    Column("sustained.p50", "p50", write=figures.milliseconds),
    Column("sustained.p90", "p90", write=figures.milliseconds),
    Column("sustained.p99", "p99", write=figures.milliseconds),
    Column("sustained.first_p90", "p90 at first", write=figures.milliseconds),
    Column("sustained.last_p90", "p90 at last", write=figures.milliseconds),
    Column("sustained", "Clock, MHz", ends=("sustained.clock_mhz.before", "sustained.clock_mhz.after")),
    Column("sustained", "Temperature, °C", ends=("sustained.temperature_c.before", "sustained.temperature_c.after")),
)
