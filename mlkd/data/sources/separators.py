"""Splits a cell into tags, and detects whether another separator was meant."""

from __future__ import annotations

import ast
import re
import sys
import warnings
from collections.abc import Collection, Sequence

SEPARATORS = (";", "|", ",", "/", " ")
LIST = re.compile(r"\[\s*(?:['\"].*|-?\d[\d\s,.-]*)?\]", re.DOTALL)
QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
FEW = 3  # labels below which no other separator is suggested


def split_tags(text: str, separator: str) -> tuple[str, ...]:
    """Split a cell into stripped tags; a list as Python or JSON writes it is read as such, or ValueError raised."""
    if LIST.fullmatch(text.strip()):
        return _list_items(text.strip()[1:-1])
    parts = text.split() if separator == " " else text.split(separator)
    return tuple(sys.intern(tag) for part in parts if (tag := part.strip()))  # a table has few, in many rows


def _list_items(inside: str) -> tuple[str, ...]:
    quoted = QUOTED.findall(inside)
    if not quoted:
        return tuple(re.split(r"[\s,]+", inside.strip(", "))) if inside.strip(", ") else ()
    if QUOTED.sub("", inside).strip(" ,\n"):
        raise ValueError(f"expected a list of quoted tags, got [{inside[:60]}]")
    try:
        with warnings.catch_warnings(action="ignore"):  # of unknown escapes
            return tuple(tag for item in quoted if (tag := str(ast.literal_eval(item)).strip()))
    except (SyntaxError, ValueError):
        raise ValueError(f"expected a list of quoted tags with escapes as in Python, got [{inside[:60]}]") from None


def other_separator(texts: Collection[str], separator: str) -> str | None:
    """Return the separator that most labels still contain after they are split; None if there is no such one.

    Most labels have to contain it, and their parts have to be labels too: they are labels elsewhere, or they are so
    few that they explain at least twice as many labels.
    """
    labels = {tag for text in texts for tag in _readable_tags(text, separator)}
    if len(labels) < FEW:
        return None
    return next((mark for mark in SEPARATORS if mark != separator and _explains(mark, sorted(labels))), None)


def _readable_tags(text: str, separator: str) -> tuple[str, ...]:
    """The tags of a cell; none of a bad one, which is reported with its line."""
    try:
        return split_tags(text, separator)
    except ValueError:
        return ()


def _explains(mark: str, labels: Sequence[str]) -> bool:
    compound = [label for label in labels if len(_readable_tags(label, mark)) > 1]
    parts = {part for label in compound for part in _readable_tags(label, mark)}
    alone = parts & set(labels)
    most = len(labels) / (5 if alone == parts else 2)
    if not compound or len(compound) < most:
        return False
    widths = {len(_readable_tags(label, mark)) for label in compound}
    varies = len(widths) > 1 or max(widths) > 2 or mark != " "  # "red dog", "blue cat": names of two words
    return 2 * len(alone) >= len(parts) or (varies and 2 * len(parts | alone) <= len(labels))
