"""How a table is read: the keys that a recipe's data section shares with the options of `init`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Form = Literal["tags", "columns", "one_hot"]


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """How a table is read."""

    form: Literal["auto", "tags", "columns", "one_hot"] = "auto"  # column of all tags, of one tag, of a label
    file_column: str = "file"  # column with the image's file name
    tags_column: str | None = None  # column with all tags; null: tags, labels, label, class, ...
    separator: str = ";"  # between the tags of an image
    split_column: str | None = "split"  # column with train, val or test; null: split by hash of the file name
    ignore_columns: tuple[str, ...] = ()  # columns to ignore
    ignore_labels: tuple[str, ...] = ()  # labels to exclude
    negative_values: tuple[str, ...] = ()  # cells of a one-hot column that mean no, in addition to 0, false and no
    label_names: Path | None = field(default=None, metadata={"identity": False})  # file: names of numbered labels
    merge_labels: bool = False  # merge labels that differ only in case, spaces or Unicode form
    merge_rows: bool = False  # merge the tags of all rows of an image
    skip_bad_rows: bool = False  # skip and count rows that cannot be read

    def __post_init__(self) -> None:
        if not self.separator or any(mark in self.separator for mark in '"\n\r'):
            raise ValueError(f"separator: expected characters other than a quote, got {self.separator!r}")
        if self.tags_column is not None and self.form not in ("auto", "tags"):
            raise ValueError(f"form: expected tags beside tags_column, got {self.form}; leave one of them out")
