"""Detects in which form a CSV table holds the labels: tags in one column, in several, or one column a label."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote

from mlkd.data.sources.table_options import Form, TableOptions

TAGS_COLUMNS = ("tags", "labels", "label", "tag", "classes", "class", "categories", "category", "keywords")
POSITIVE = {"1": True, "1.0": True, "true": True, "yes": True, "y": True}
NEGATIVE = {"0": False, "0.0": False, "false": False, "no": False, "n": False}
UNKNOWN = {"": None, "?": None, "-1": None, "-1.0": None}
EMPTY = '""'  # an empty cell, in a recipe and in a shell
NUMBERED = re.compile(r"(.*?)[ _-]?(\d+)")


class LabelCells:
    """Reads the cells of a label's column as yes, no or unknown, and counts the ambiguous ones."""

    def __init__(self, negative_values: Sequence[str]) -> None:
        more = {value.lower(): False for value in negative_values}
        more |= {f"{value}.0": False for value in more if value.lstrip("-").isdigit()}
        self.meaning: dict[str, bool | None] = {**POSITIVE, **NEGATIVE, **UNKNOWN, **more}
        self.minus_ones = 0

    def is_valid(self, cell: str) -> bool:
        """Whether the cell means yes, no or unknown."""
        return cell.lower() in self.meaning

    def read(self, column: str, cell: str) -> bool | None:
        """Return True for yes, False for no, None for unknown.  Raises ValueError for other cells."""
        if not self.is_valid(cell):
            raise ValueError(
                f"expected 1, 0, or nothing, ? or -1 for unknown in column {column}, got {cell!r}; if it is no label, "
                f"set ignore_columns: [{column}]; if it means no, set negative_values: [{cell}]; "
                "if the columns hold tags, set form: columns"
            )
        meaning = self.meaning[cell.lower()]
        self.minus_ones += meaning is None and cell.startswith("-1")
        return meaning

    def warnings(self, path: Path) -> list[str]:
        """Report cells that may have another meaning."""
        if not self.minus_ones:
            return []
        return [
            f"{path}: -1 is read as unknown in {self.minus_ones} cells; if it means that the label is absent, "
            "set negative_values: [-1]"
        ]


def detect_form(
    path: Path, others: Sequence[str], values: Mapping[str, Sequence[str]], options: TableOptions
) -> tuple[Form, list[str]]:
    """Detect the form of a table, and the columns that it uses.  Raises ValueError if none or two forms match."""
    if options.form == "columns" or options.form == "one_hot":
        return options.form, list(others)
    cells = LabelCells(options.negative_values)
    one_hot = [name for name in others if all(map(cells.is_valid, values[name]))]
    column = options.tags_column or _tags_column(path, others, one_hot)
    if column is not None:
        return "tags", [column]
    if options.form == "tags":
        raise ValueError(
            f"{path}, line 1: expected a column tags, got {','.join(others)}; set tags_column: NAME, or set form: auto"
        )
    matches = [NUMBERED.fullmatch(name) for name in others]
    if not all(matches) or len({match[1] for match in matches if match}) > 1:
        return "one_hot", list(others)
    if len(one_hot) == len(others):
        raise ValueError(
            f"{path}: expected tags in the columns {','.join(others)}, got only 0, 1 and unknown; "
            "set form: one_hot if each column is a label, or set form: columns if each holds a tag"
        )
    return "columns", list(others)


def _tags_column(path: Path, others: Sequence[str], one_hot: Sequence[str]) -> str | None:
    """The column named tags, or with another usual name, or the only one that cannot be a label's."""
    if "tags" in others:
        return "tags"
    usual = [name for name in others if name.lower() in TAGS_COLUMNS and name not in one_hot]
    if not usual:
        words = {name: re.split(r"[^a-z]+", name.lower()) for name in others if name not in one_hot}
        words = {name: parts for name, parts in words.items() if not NUMBERED.fullmatch(name)}
        usual = [name for name in words if set(words[name]) & set(TAGS_COLUMNS)]
    if len(usual) > 1:
        raise ValueError(
            f"{path}, line 1: expected one column of tags, got {', '.join(usual)}; set tags_column: {quote(usual[0])}"
        )
    doubtful = [name for name in one_hot if name.lower() in TAGS_COLUMNS]
    if doubtful and len(others) == len(doubtful) == 1:
        name = doubtful[0]
        raise ValueError(
            f"{path}: expected tags in the column {name}, got only 0, 1 and unknown; set form: one_hot if 1 means that "
            f"the image has the label {name!r}, or set tags_column: {quote(name)} if 0 and 1 are the tags"
        )
    if usual:
        return usual[0]
    return others[0] if len(others) == 1 and not one_hot else None


def label_columns(
    path: Path, others: Sequence[str], values: Mapping[str, Sequence[str]], cells: LabelCells
) -> list[str]:
    """Select the columns of a one-hot table that are labels: those with a yes or no in some row.

    Raises ValueError if there is none, or if no cell means no, so that no label has a negative.
    """
    meanings = {name: Counter(map(cells.meaning.get, map(str.lower, values[name]))) for name in others}
    used = [name for name in others if meanings[name][True] or meanings[name][False]]
    if not used:
        names = ", ".join(others[:10])
        raise ValueError(
            f"{path}: expected a column of tags, or columns with 1 and 0, got {names}; "
            f"set tags_column: {quote(others[0])}, or another of them, or set form: columns if each holds one tag"
        )
    present = [cell for cell in ("-1", "", "?") if any(cell in values[name] for name in used)]
    if present and not any(meanings[name][False] for name in used):
        shown = [cell or "nothing" for cell in present]
        advice = " or ".join(f"set negative_values: [{EMPTY if cell == '' else cell}]" for cell in present)
        raise ValueError(
            f"{path}: expected cells that mean a label is absent, got only 1 and {' and '.join(shown)}, read as "
            f"unknown, so that no label has a negative; if it means absent, {advice}"
        )
    return used
