"""The cells of a table: comma-, semicolon- or tab-separated, with line numbers as an editor counts them."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath

from mlkd.core.image_kinds import NAMED

MARKS = ",\t;"  # between cells
MOST_LINES = 100  # of one quoted value; a quote that is closed later was not meant to be opened


@dataclass(frozen=True)
class Bad:
    """A row that cannot be used, and why."""

    line: int
    why: str


@dataclass
class Cells:
    """The header's names, (line, values) of every row as wide as the header, and the rows that are not."""

    header: tuple[str, ...] = ()
    records: list[tuple[int, list[str]]] = field(default_factory=list)
    bad: list[Bad] = field(default_factory=list)
    repaired: list[int] = field(default_factory=list)  # lines whose quotes are irregular

    def column(self, name: str) -> list[str]:
        """Its values in all rows."""
        at = self.header.index(name)
        return [values[at] for _, values in self.records]

    def warnings(self, path: Path) -> list[str]:
        """What was read though it is not written as it should be."""
        lines = len(self.repaired)
        return [f"{path}: irregular quotes in {lines} lines, the first: line {self.repaired[0]}"] if lines else []


def read_lines(path: Path) -> list[str]:
    """The lines of a text in UTF-8, or UTF-16 with its mark.  Raises ValueError with the line of another encoding."""
    content = path.read_bytes()
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as cause:
        line = content.count(b"\n", 0, cause.start) + 1
        raise ValueError(
            f"{path}, line {line}: expected UTF-8, got {cause.reason}; save a copy as UTF-8 and say table: COPY"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def read_cells(path: Path) -> Cells:
    """All rows of a table with a header.  Raises ValueError for what is no text in UTF-8."""
    lines = read_lines(path)
    cells = Cells()
    at = next((at for at, line in enumerate(lines) if line.strip()), len(lines))
    mark = cell_mark(_first_with_mark(lines[at : at + MOST_LINES]))
    while at < len(lines):
        used = 1
        if lines[at].strip():
            values, used = _record(lines, at, mark, len(cells.header), cells.repaired)
            _take(cells, at + 1, values)
        at += used
    image = next((name for name in cells.header if _is_image(name)), None)
    if image is not None:
        raise ValueError(
            f"{path}: expected a first line with the names of the columns, got one with the image {image!r}; put "
            "file,tags above it and say table: FILE"
        )
    return cells


def _first_with_mark(lines: Sequence[str]) -> str:
    """The header's first line; the next one with a mark where that line has only the beginning of a quoted value."""
    quoted = bool(lines) and '"' in lines[0] and not any(mark in lines[0] for mark in MARKS)
    return next((line for line in lines if any(mark in line for mark in MARKS) or not quoted), "")


def cell_mark(header: str) -> str:
    """What stands between the cells: a comma, or the tab or semicolon that makes more columns."""
    return max(MARKS, key=lambda mark: header.count(mark))


def _take(cells: Cells, line: int, values: list[str]) -> None:
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
        why = f"expected {width} values as in the header, got {len(values)}"
        cells.bad.append(Bad(line, why + ('; quote a value that holds a comma, "a,b"' if len(values) > width else "")))


def _record(lines: list[str], at: int, mark: str, width: int, repaired: list[int]) -> tuple[list[str], int]:
    """The values that begin in lines[at], and how many lines they take."""
    line = lines[at]
    if '"' not in line:
        return line.split(mark), 1
    reader = csv.reader((one + "\n" for one in islice(lines, at, at + MOST_LINES)), _Strict, delimiter=mark)
    try:
        values = next(reader)
    except csv.Error:
        repaired.append(at + 1)
        return _irregular(line, mark), 1
    used = reader.line_num
    following = lines[at + 1 : at + used]
    if width:
        whole = len(values) == width and not _swallows(values, following, mark)
    else:
        whole = not any(_is_image(cell) for line in following for cell in line.split(mark))
    if used == 1 or whole:
        return values, used
    repaired.append(at + 1)
    return _irregular(line, mark), 1


class _Strict(csv.excel):
    strict = True
    skipinitialspace = True


def _swallows(values: list[str], following: list[str], mark: str) -> bool:
    """True if a line inside a quoted value looks like a row of its own: an image or a number where `values` has one."""
    return any(
        len(cells) == len(values) and any(_alike(value, cell) for value, cell in zip(values, cells, strict=True))
        for cells in (line.split(mark) for line in following)
    )


def _is_image(name: str) -> bool:
    return PurePosixPath(name.strip()).suffix.lower() in NAMED


def _alike(value: str, cell: str) -> bool:
    value, cell = value.strip().lower(), cell.strip().lower()
    return cell.endswith(Path(value).suffix) if _is_image(value) else value.isdigit() and cell.isdigit()


def _irregular(line: str, mark: str) -> list[str]:
    """A quote opens a value only at its beginning and closes it only before the next cell; all others are text."""
    cell = re.compile(rf'\s*"(?P<quoted>(?:[^"]|"(?!\s*(?:{mark}|$)))*)"\s*(?={mark}|$)|(?P<plain>[^{mark}]*)')
    values, at = [], 0
    while at <= len(line):
        found = cell.match(line, at)
        assert found is not None, "a plain cell may be empty"
        quoted = found["quoted"]
        values.append(found["plain"].strip().removeprefix('"') if quoted is None else quoted.replace('""', '"'))
        at = found.end() + 1
    return values
