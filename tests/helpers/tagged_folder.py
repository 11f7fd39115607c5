"""Folders of tagged images, as a user has them before `init`."""

import csv
from collections.abc import Sequence
from pathlib import Path

from tests.helpers import layouts


def tags(number: int) -> list[str]:
    """The tags of an image; some images have none."""
    return [tag for divisor, tag in ((7, "pet"), (2, "cat"), (3, "red dog"), (20, "owl")) if number % divisor == 0]


def draw(folder: Path, count: int, name: str = "{}.png") -> None:
    """Draw images 0 to count - 1."""
    for number in range(count):
        layouts.draw(folder / name.format(number), number)


def write_table(file: Path, rows: Sequence[Sequence[object]], header: Sequence[str] = ("file", "tags")) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])
