"""In which form a table of comma-separated values says what the labels are."""

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


class Answers:
    """Reads the cells of a label's column, and counts those that can mean two things."""

    def __init__(self, negative_values: Sequence[str]) -> None:
        more = {value.lower(): False for value in negative_values}
        more |= {f"{value}.0": False for value in more if value.lstrip("-").isdigit()}
        self.meaning: dict[str, bool | None] = {**POSITIVE, **NEGATIVE, **UNKNOWN, **more}
        self.minus_ones = 0

    def knows(self, cell: str) -> bool:
        """True for every cell that says yes, no or unknown."""
        return cell.lower() in self.meaning

    def read(self, column: str, cell: str) -> bool | None:
        """Yes, no, or None for unknown.  Raises ValueError for anything else."""
        if not self.knows(cell):
            raise ValueError(
                f"expected 1, 0, or nothing, ? or -1 for unknown in column {column}, got {cell!r}; if it is no label, "
                f"say ignore_columns: [{column}]; if it means no, say negative_values: [{cell}]; "
                "if the columns hold tags, say form: columns"
            )
        meaning = self.meaning[cell.lower()]
        self.minus_ones += meaning is None and cell.startswith("-1")
        return meaning

    def warnings(self, path: Path) -> list[str]:
        """What may have been meant otherwise."""
        if not self.minus_ones:
            return []
        return [
            f"{path}: -1 is read as unknown in {self.minus_ones} cells; if it means that the label is absent, "
            "say negative_values: [-1]"
        ]


def detect(
    path: Path, others: Sequence[str], values: Mapping[str, Sequence[str]], options: TableOptions
) -> tuple[Form, list[str]]:
    """The form, and the columns that it reads; a table that fits two forms is refused, never guessed."""
    if options.form == "columns" or options.form == "one_hot":
        return options.form, list(others)
    answers = Answers(options.negative_values)
    answered = [name for name in others if all(map(answers.knows, values[name]))]
    column = options.tags_column or _column_of_tags(path, others, answered)
    if column is not None:
        return "tags", [column]
    if options.form == "tags":
        raise ValueError(
            f"{path}, line 1: expected a column tags, got {','.join(others)}; say tags_column: NAME, or say form: auto"
        )
    matches = [NUMBERED.fullmatch(name) for name in others]
    if not all(matches) or len({match[1] for match in matches if match}) > 1:
        return "one_hot", list(others)
    if len(answered) == len(others):
        raise ValueError(
            f"{path}: expected tags in the columns {','.join(others)}, got only 0, 1 and unknown; "
            "say form: one_hot if each column is a label, or say form: columns if each holds a tag"
        )
    return "columns", list(others)


def _column_of_tags(path: Path, others: Sequence[str], answered: Sequence[str]) -> str | None:
    """The column named tags, or as tables often call it, or the only one that cannot be a label's."""
    if "tags" in others:
        return "tags"
    usual = [name for name in others if name.lower() in TAGS_COLUMNS and name not in answered]
    if not usual:
        words = {name: re.split(r"[^a-z]+", name.lower()) for name in others if name not in answered}
        words = {name: parts for name, parts in words.items() if not NUMBERED.fullmatch(name)}
        usual = [name for name in words if set(words[name]) & set(TAGS_COLUMNS)]
    if len(usual) > 1:
        raise ValueError(
            f"{path}, line 1: expected one column of tags, got {', '.join(usual)}; say tags_column: {quote(usual[0])}"
        )
    doubtful = [name for name in answered if name.lower() in TAGS_COLUMNS]
    if doubtful and len(others) == len(doubtful) == 1:
        name = doubtful[0]
        raise ValueError(
            f"{path}: expected tags in the column {name}, got only 0, 1 and unknown; say form: one_hot if 1 means that "
            f"the image has the label {name!r}, or say tags_column: {quote(name)} if 0 and 1 are the tags"
        )
    if usual:
        return usual[0]
    return others[0] if len(others) == 1 and not answered else None


def label_columns(
    path: Path, others: Sequence[str], values: Mapping[str, Sequence[str]], answers: Answers
) -> list[str]:
    """The columns of a one-hot table that are labels: those with a yes or no somewhere.

    Raises ValueError if there is none, or if no cell of any says no: then every label is known only where it is.
    """
    meanings = {name: Counter(map(answers.meaning.get, map(str.lower, values[name]))) for name in others}
    used = [name for name in others if meanings[name][True] or meanings[name][False]]
    if not used:
        names = ", ".join(others[:10])
        raise ValueError(
            f"{path}: expected a column of tags, or columns with 1 and 0, got {names}; "
            f"say tags_column: {quote(others[0])}, or another of them, or say form: columns if each holds one tag"
        )
    present = [cell for cell in ("-1", "", "?") if any(cell in values[name] for name in used)]
    if present and not any(meanings[name][False] for name in used):
        shown = [cell or "nothing" for cell in present]
        advice = " or ".join(f"say negative_values: [{EMPTY if cell == '' else cell}]" for cell in present)
        raise ValueError(
            f"{path}: expected cells that say a label is absent, got only 1 and {' and '.join(shown)}, read as "
            f"unknown: no label could be learnt; if it means absent, {advice}"
        )
    return used
