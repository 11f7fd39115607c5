"""The table of a screen."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Column, Table

from pipeline.search.rows import Row, Verdict


def table(verdicts: Sequence[Verdict], devices: Sequence[str]) -> Table:
    """Show a line for each candidate, with its best engine on each device."""
    columns = [Column(name, overflow="fold") for name in ("candidate", *_columns(devices), "budget")]
    shown = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for verdict in verdicts:
        cells = [cell for device in devices for cell in _cells(verdict.fastest.get(device))]
        shown.add_row(verdict.candidate, *cells, "kept" if verdict.kept else "; ".join(verdict.misses))
    return shown


def _columns(devices: Sequence[str]) -> list[str]:
    names = [f"{device}: " for device in devices] if len(devices) > 1 else [""]
    return [f"{name}{column}" for name in names for column in ("engine", "p90 ms", "bound", "MB")]


def _cells(row: Row | None) -> list[str]:
    if row is None or row.end_to_end_ms is None:
        return ["-"] * 4
    times = (row.end_to_end_ms.p90, row.end_to_end_ms.p90_bound, row.megabytes)
    return [str(row.engine), *("-" if value is None else f"{value:.2f}" for value in times)]
