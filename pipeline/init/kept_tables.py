"""Copies of judged rows beside the recipe that reads them, as the next `tag --csv` may overwrite a table."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

from mlkd.data.sources.cells import read_cells
from mlkd.data.sources.verdicts import IMAGE, TAGS, UNKNOWN, VERDICT, read_verdicts


def kept_tables(tables: Sequence[Path], root: Path | None, out: Path) -> dict[Path, str]:
    """File and content of a copy of each table, for the recipe `out`.

    Raises ValueError for a file that is in the way, unless `out` exists: then `out` is replaced with its copies.
    """
    copies = {}
    for number, table in enumerate(tables, start=1):
        file = out.absolute().with_name(f"{out.stem}.corrections{number}.csv")
        if file.exists() and not out.exists():
            raise ValueError(
                f"out: expected no {file}, where the corrections of {out.name} are kept; rename one of both"
            )
        copies[file] = _judged_rows(table, root or table.parent)
    return copies


def _judged_rows(table: Path, folder: Path) -> str:
    """The rows with a verdict as CSV, with absolute paths of images."""
    cells = read_cells(table)
    files = {row.line: os.path.abspath(folder / row.file) for row in read_verdicts(table, cells).rows}  # noqa: PTH100
    header = [name.lower() for name in cells.header]
    columns = [name for name in (IMAGE, TAGS, UNKNOWN, VERDICT) if name in header]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for line, values in cells.records:
        if line in files:
            record = {**dict(zip(header, values, strict=True)), IMAGE: files[line]}
            writer.writerow([record[name] for name in columns])
    return text.getvalue()
