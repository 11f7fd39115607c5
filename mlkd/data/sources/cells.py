"""Reads the cells of a table: comma-, semicolon- or tab-separated, with line numbers as an editor counts them."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath

from mlkd.core.image_kinds import NAMED
from mlkd.data.paths import read_text
from mlkd.data.sources.rows import BadRow

DELIMITERS = ",\t;"  # between cells
SEPARATOR_LINE = re.compile(r'\s*"?sep=([,;\t])"?[,;\t\s]*')  # of Excel, above the header
NAMES = {",": "a comma", "\t": "a tab", ";": "a semicolon"}
MEMORY = 13  # bytes that a byte of a table takes at most, where rows are short; a table of 80 MB takes up to a GiB
MEMORY_FACTS = Path("/proc/meminfo")  # of Linux; elsewhere any table is read
MOST_LINES = 100  # of one quoted value; a quote that is closed later was opened by mistake


@dataclass
class Cells:
    """The header's names, (line, values) of every row as wide as the header, and the other rows."""

    header: tuple[str, ...] = ()
    records: list[tuple[int, list[str]]] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)
    repaired: list[int] = field(default_factory=list)  # lines whose quotes are irregular

    def column(self, name: str) -> list[str]:
        """Return the column's values in all rows."""
        index = self.header.index(name)
        return [values[index] for _, values in self.records]

    def warnings(self, path: Path) -> list[str]:
        """Say what was read although it is malformed."""
        lines = len(self.repaired)
        return [f"{path}: irregular quotes in {lines} lines, the first: line {self.repaired[0]}"] if lines else []


def read_lines(path: Path) -> list[str]:
    """Read the lines of a table in UTF-8, or in UTF-16 with its mark.

    Raises ValueError with the line, and for a table that would fill the memory of the machine.
    """
    needed, free = MEMORY * path.stat().st_size, _free_memory()
    if free is not None and needed > free:
        raise ValueError(
            f"{path}: expected {needed / 1e9:.1f} GB of free memory to read {path.stat().st_size / 1e6:.1f} MB, got "
            f"{free / 1e9:.1f} GB; leave out columns that are not read, or make shards with a dataset.json"
        )
    text = read_text(path, "save a copy as UTF-8 and set table: COPY")
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _free_memory() -> int | None:
    """Return the bytes that processes can get without swapping; None where that is unknown."""
    if not MEMORY_FACTS.is_file():
        return None
    available = re.search(r"MemAvailable:\s*(\d+) kB", MEMORY_FACTS.read_text(encoding="ascii"))
    return 1024 * int(available[1]) if available else None


def read_cells(path: Path) -> Cells:
    """Read all rows of a table with a header.  Raises ValueError for other encodings and for a missing header."""
    lines = read_lines(path)
    cells = Cells()
    start = next((index for index, line in enumerate(lines) if line.strip()), len(lines))
    if start < len(lines) and (said := SEPARATOR_LINE.fullmatch(lines[start])):
        delimiter, start = said[1], start + 1
    else:
        delimiter = _delimiter(lines[start : start + MOST_LINES])
    while start < len(lines):
        used = 1
        if lines[start].strip():
            values, used = _record(lines, start, delimiter, len(cells.header), cells.repaired)
            _add(cells, start + 1, values, delimiter)
        start += used
    for image in filter(_is_image, cells.header):
        raise ValueError(
            f"{path}: expected a first line with the names of the columns, got one with the image {image!r}; insert "
            "the line file,tags above it and set table: FILE"
        )
    return cells


def _delimiter(lines: Sequence[str]) -> str:
    """The character between the cells of the header: a comma, or the tab or semicolon that gives more columns.

    Where the first line has only the beginning of a quoted value, the next one with a delimiter decides.
    """
    quoted = bool(lines) and '"' in lines[0] and not any(mark in lines[0] for mark in DELIMITERS)
    header = next((line for line in lines if any(mark in line for mark in DELIMITERS) or not quoted), "")
    return max(DELIMITERS, key=header.count)


def _add(cells: Cells, line: int, values: list[str], delimiter: str) -> None:
    values = [value.strip() for value in values]
    if not cells.header:
        cells.header = tuple(re.sub(r"\s*\n\s*", " ", value) for value in values)
        return
    width = len(cells.header)
    while len(values) > width and not values[-1]:
        values.pop()
    if len(values) == width:
        cells.records.append((line, values))
    else:
        advice = f'; quote a value that contains {NAMES[delimiter]}, "a{delimiter}b"' if len(values) > width else ""
        cells.bad.append(BadRow(line, f"expected {width} values as in the header, got {len(values)}{advice}"))


def _record(lines: list[str], start: int, delimiter: str, width: int, repaired: list[int]) -> tuple[list[str], int]:
    """The values that begin in lines[start], and how many lines they take."""
    line = lines[start]
    if '"' not in line:
        return line.split(delimiter), 1
    text = (line + "\n" for line in islice(lines, start, start + MOST_LINES))
    reader = csv.reader(text, _Strict, delimiter=delimiter)
    try:
        values = next(reader)
    except csv.Error:
        values = []
    used = reader.line_num
    following = lines[start + 1 : start + used]
    if width:
        whole = len(values) == width and not _swallows(values, following, delimiter)
    else:
        whole = not any(_is_image(cell) for line in following for cell in line.split(delimiter))
    if values and (used == 1 or whole):
        return values, used
    repaired.append(start + 1)
    return _irregular(line, delimiter), 1


class _Strict(csv.excel):
    strict = True
    skipinitialspace = True


def _swallows(values: list[str], following: list[str], delimiter: str) -> bool:
    """Whether a line inside a quoted value looks like a row: an image or a number where `values` has one."""
    return any(
        len(cells) == len(values) and any(_alike(value, cell) for value, cell in zip(values, cells, strict=True))
        for cells in (line.split(delimiter) for line in following)
    )


def _is_image(name: str) -> bool:
    return PurePosixPath(name.strip()).suffix.lower() in NAMED


def _alike(value: str, cell: str) -> bool:
    value, cell = value.strip().lower(), cell.strip().lower()
    return cell.endswith(Path(value).suffix) if _is_image(value) else value.isdigit() and cell.isdigit()


def _irregular(line: str, delimiter: str) -> list[str]:
    """Read a line whose quotes are text, unless they are at the beginning of a value or before the next cell."""
    end = rf"(?:{delimiter}|$)"
    cell = re.compile(rf'\s*"(?P<quoted>(?:[^"]|"(?!\s*{end}))*)"\s*(?={end})|(?P<plain>[^{delimiter}]*)')
    values, start = [], 0
    while start <= len(line):
        match = cell.match(line, start)
        assert match is not None, "a plain cell may be empty"
        quoted = match["quoted"]
        values.append(match["plain"].strip().removeprefix('"') if quoted is None else quoted.replace('""', '"'))
        start = match.end() + 1
    return values
