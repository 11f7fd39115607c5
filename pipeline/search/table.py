"""The tables of a screen and of a race."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Column, Table

from pipeline.search.race_rows import Race, RaceRow
from pipeline.search.rows import Row, Verdict


def table(verdicts: Sequence[Verdict], devices: Sequence[str]) -> Table:
    """Show a line for each candidate, with its best engine on each device."""
    columns = [Column(name, overflow="fold") for name in ("candidate", *_columns(devices), "budget")]
    shown = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for verdict in verdicts:
        cells = [cell for device in devices for cell in _cells(verdict.fastest.get(device))]
        shown.add_row(verdict.candidate, *cells, "kept" if verdict.kept else "; ".join(verdict.misses))
    return shown


def race_table(race: Race) -> Table:
    """Show how far every candidate came: first the ranking, then those that were not trained."""
    shown = Table(
        "candidate", "p90 ms", "epochs", "select mAP", "95 %", "beaten by", "", box=None, pad_edge=False,
        header_style="bold",
    )  # fmt: skip
    last = {row.candidate: row for row in race.rows if row.select_map}  # rows of later rungs replace earlier ones
    others = [row for row in race.rows if row.candidate not in last]
    for row in (*(last[name] for name in race.ranking if name in last), *others):
        reasons = [one.reason for one in race.rows if one.candidate == row.candidate and one.reason]
        shown.add_row(row.candidate, f"{row.p90_ms:.2f}", *_result_cells(row), reasons[-1] if reasons else "finalist")
    return shown


def _result_cells(row: RaceRow) -> list[str]:
    result = row.select_map
    if result is None:
        return ["-"] * 4
    interval = (
        "-" if result.low is None or result.high is None else f"{100 * result.low:.1f} to {100 * result.high:.1f}"
    )
    return [str(row.epochs), f"{100 * result.value:.1f}", interval, str(len(row.beaten_by))]


def _columns(devices: Sequence[str]) -> list[str]:
    names = [f"{device}: " for device in devices] if len(devices) > 1 else [""]
    return [f"{name}{column}" for name in names for column in ("engine", "p90 ms", "bound", "MB")]


def _cells(row: Row | None) -> list[str]:
    if row is None or row.end_to_end_ms is None:
        return ["-"] * 4
    times = (row.end_to_end_ms.p90, row.end_to_end_ms.p90_bound, row.megabytes)
    return [str(row.engine), *("-" if value is None else f"{value:.2f}" for value in times)]
