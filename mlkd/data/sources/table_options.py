"""How to read a table: the keys that a recipe's data section shares with the options of `init`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Form = Literal["tags", "columns", "one_hot"]


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """How to read a table."""

    form: Literal["auto", "tags", "columns", "one_hot"] = "auto"  # one column of tags, several, or one per label
    file_column: str = "file"  # column with the file name
    tags_column: str | None = None  # column with all tags of an image; null: tags, labels, label, class, ...
    separator: str = ";"  # between the tags of one image
    split_column: str | None = "split"  # column with train, val or test; null: split by hash
    ignore_columns: tuple[str, ...] = ()  # columns that are no labels
    ignore_labels: tuple[str, ...] = ()  # labels to leave out
    negative_values: tuple[str, ...] = ()  # cells of a label's column that also mean no, besides 0, false and no
    label_names: Path | None = field(default=None, metadata={"identity": False})  # file with the names of label numbers
    merge_labels: bool = False  # merge labels that differ only in case, spaces or Unicode form
    merge_rows: bool = False  # give an image in several rows the tags of all of them
    skip_bad_rows: bool = False  # leave out unreadable rows, and count them

    def __post_init__(self) -> None:
        if not self.separator or any(mark in self.separator for mark in '"\n\r'):
            raise ValueError(f"separator: expected characters other than a quote, got {self.separator!r}")
        if self.tags_column is not None and self.form not in ("auto", "tags"):
            raise ValueError(f"form: expected tags if tags_column is set, got {self.form}; leave one of them out")
