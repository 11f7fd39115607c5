"""What stands between the tags of one image: split a cell, and see whether another separator was meant."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Sequence

SEPARATORS = (";", "|", ",", "/", " ")
LIST = re.compile(r"\[\s*(?:['\"].*|-?\d[\d\s,.-]*)?\]", re.DOTALL)
QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
FEW = 3  # labels below which nothing is concluded


def split_tags(text: str, separator: str) -> tuple[str, ...]:
    """The tags of one cell, stripped, without empty ones; a list as Python or JSON writes it is read as one.

    Raises ValueError for a list that is broken.
    """
    if LIST.fullmatch(text.strip()):
        return _listed(text.strip()[1:-1])
    parts = text.split() if separator == " " else text.split(separator)
    return tuple(tag for part in parts if (tag := part.strip()))


def _listed(inside: str) -> tuple[str, ...]:
    quoted = QUOTED.findall(inside)
    if not quoted:
        return tuple(re.split(r"[\s,]+", inside.strip(", "))) if inside.strip(", ") else ()
    if QUOTED.sub("", inside).strip(" ,\n"):
        raise ValueError(f"expected a list of quoted tags, got [{inside[:60]}]")
    return tuple(tag for one in quoted if (tag := str(ast.literal_eval(one)).strip()))


def other_separator(texts: Collection[str], separator: str) -> str | None:
    """The separator that most labels contain though they are split already; None where nothing speaks for another.

    Most labels have to hold it, and their parts have to be labels too: parts that stand alone elsewhere, or so few of
    them that they explain at least twice as many labels.
    """
    labels = {tag for text in texts for tag in split_tags(text, separator)}
    if len(labels) < FEW:
        return None
    return next((mark for mark in SEPARATORS if mark != separator and _explains(mark, sorted(labels))), None)


def _explains(mark: str, labels: Sequence[str]) -> bool:
    compound = [label for label in labels if len(split_tags(label, mark)) > 1]
    parts = {part for label in compound for part in split_tags(label, mark)}
    alone = parts & set(labels)
    most = len(labels) / (5 if alone == parts else 2)
    if not compound or len(compound) < most:
        return False
    widths = {len(split_tags(label, mark)) for label in compound}
    varies = len(widths) > 1 or max(widths) > 2 or mark != " "  # "red dog", "blue cat": names of two words
    return 2 * len(alone) >= len(parts) or (varies and 2 * len(parts | alone) <= len(labels))
