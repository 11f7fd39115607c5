"""How to read a table: the keys that a recipe's data section shares with the options of `init`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Form = Literal["tags", "columns", "one_hot"]


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """How to read a table."""

    form: Literal["auto", "tags", "columns", "one_hot"] = "auto"  # tags in one, a tag in each, a label a column
    file_column: str = "file"  # names the image
    tags_column: str | None = None  # holds all tags of an image; left out: tags, labels, label, class, ...
    separator: str = ";"  # between the tags of one image
    split_column: str | None = "split"  # train, val or test; null: cut the splits by hash
    ignore_columns: tuple[str, ...] = ()  # neither labels nor anything else
    ignore_labels: tuple[str, ...] = ()  # left out of the set
    negative_values: tuple[str, ...] = ()  # beside 0, false and no: cells of a label's column that mean no
    label_names: Path | None = field(default=None, metadata={"identity": False})  # file with the names of numbers
    merge_labels: bool = False  # labels that differ only in case, spaces or Unicode form become one
    merge_rows: bool = False  # an image in several rows has the tags of all of them
    skip_bad_rows: bool = False  # leave out rows that cannot be read, and count them

    def __post_init__(self) -> None:
        if not self.separator or any(mark in self.separator for mark in '"\n\r'):
            raise ValueError(f"separator: expected characters other than a quote, got {self.separator!r}")
        if self.tags_column is not None and self.form not in ("auto", "tags"):
            raise ValueError(f"form: expected tags if tags_column is set, got {self.form}; leave one of them out")
