"""Label names and their order, which are stored with a model."""

from __future__ import annotations

import csv
import difflib
import json
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mlkd.core.json_text import parse_json
from mlkd.core.printable import printable

FIRST = 5  # labels that an error lists where none is similar
LONGEST = 500  # characters of a name
SHOWN = 60  # characters of a name in an error
NOT_IN_XML = "\ufffe\uffff"


@dataclass(frozen=True)
class Labels:
    """The names of L labels; the position of a label is its column in every (N, L) array.

    Raises:
        ValueError: A name is empty or repeated, or cannot be written to every result: it has control characters or line
            breaks, a character that UTF-8 or XML lacks, a space at an end, or more than 500 characters.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        repeated = sorted(name for name, count in Counter(self.names).items() if count > 1)
        if repeated:
            raise ValueError(f"labels: expected distinct names, got {repeated} more than once; rename or merge them")
        if not self.names or not all(name.strip() for name in self.names):
            raise ValueError(f"labels: expected at least one name and none empty, got {list(self.names)}")
        for name in self.names:
            if fault := fault_of(name):
                raise ValueError(f"labels: expected names as text of one line, got {fault}; rename the label")

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """The column of `name`.  Raises ValueError that lists similar names, or else the first ones."""
        try:
            return self.names.index(name)
        except ValueError:
            message = f"label: expected one of {len(self)} known labels, got {name!r}; {self._hint(name)}"
            raise ValueError(message) from None

    def _hint(self, name: str) -> str:
        similar = difflib.get_close_matches(name, self.names, n=3)
        listed = printable(", ".join(similar or self.names[:FIRST]))
        if similar:
            return f"did you mean {listed}?"
        return f"they are {listed}" if len(self) <= FIRST else f"the first {FIRST} are {listed}"

    def write(self, path: Path) -> None:
        """Write the names as a JSON list."""
        path.write_text(json.dumps(list(self.names), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Labels:
        """Read the names that `write` stored.  Raises ValueError for another content."""
        try:
            names = parse_json(path.read_text(encoding="utf-8"))
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise ValueError(f"{type(names).__name__} without only names")
        except ValueError as cause:
            raise ValueError(f"{path}: expected a JSON list of names, got {cause}; write it again") from None
        return cls(tuple(names))


def fault_of(name: str) -> str | None:
    """Why some result could not hold this name of a label, and the name; None if all can."""
    broken = (c for c in name if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in NOT_IN_XML)
    if len(name) > LONGEST:
        fault = f"{len(name)} characters, more than {LONGEST},"
    elif (character := next(broken, None)) is not None:
        fault = f"U+{ord(character):04X}"
    elif name != name.strip():
        fault = "a space at an end"
    else:
        return None
    return f"{fault} in {name[:SHOWN]!r}{'…' if len(name) > SHOWN else ''}"


def split_names(text: str) -> tuple[str, ...]:
    """The names in `A,B`; one with a comma is in double quotes.  Empty if none is named; ValueError for other text."""
    try:
        names = next(csv.reader([text], skipinitialspace=True), [])
    except csv.Error as cause:
        raise ValueError(str(cause)) from None
    names = [name.strip() for name in names]
    return tuple(names) if any(names) else ()
