"""Layouts of published data sets: `init` reads the right labels, or refuses and names the options that solve it.

The expected labels are counted here, from how each set is made.
"""

import re
import shlex
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlkd.core.progress import silent
from pipeline.recipe.schema import load_recipe
from tests.helpers import layouts

Counts = Counter[str]


def divisors(number: int, of: tuple[int, ...]) -> list[int]:
    return [divisor for divisor in of if number % divisor == 0]


def numbered_folders(root: Path) -> Counts:
    """Flowers in folders 1 to 4, and a file with the names of the numbers."""
    for number in range(48):
        layouts.draw(root / "train" / str(number % 4 + 1) / f"image_{number:05d}.jpg", number)
    (root / "cat_to_name.json").write_text('{"1": "rose", "2": "fire lily", "3": "iris", "4": "daffodil"}')
    return Counter({"rose": 12, "fire lily": 12, "iris": 12, "daffodil": 12})


def shards(root: Path) -> Counts:
    """Images in numbered folders without meaning, and a table that names them without folder."""
    rows = ["Image Index,Finding Labels,Age"]
    counts: Counts = Counter()
    for number in range(60):
        layouts.draw(root / f"images_{number % 3:03d}" / "images" / f"{number:08d}_000.png", number)
        names = [f"Finding {divisor}" for divisor in divisors(number, (2, 3, 5))] or ["No Finding"]
        counts.update(names)
        rows.append(f"{number:08d}_000.png,{'|'.join(names)},{number % 50 + 20}")
    (root / "Data_Entry.csv").write_text("\n".join(rows))
    return counts


def one_hot_ids(root: Path) -> Counts:
    """Eyes: numbers without suffix in a column ID, 0 and 1 for every disease."""
    rows = ["ID,Disease_Risk,DR,ARMD,MH"]
    counts: Counts = Counter()
    for number in range(1, 61):
        layouts.draw(root / "Training" / f"{number}.png", number)
        present = divisors(number, (2, 3, 5))
        counts.update(name for name, has in (("DR", 2), ("ARMD", 3), ("MH", 5)) if has in present)
        counts.update(["Disease_Risk"] if present else [])
        rows.append(f"{number},{int(bool(present))},{','.join(str(int(item in present)) for item in (2, 3, 5))}")
    (root / "RFMiD_Training_Labels.csv").write_text("\ufeff" + "\r\n".join(rows) + "\r\n")
    return counts


def irregular_quotes(root: Path) -> Counts:
    """Numbers joined by spaces, and captions with irregular quotes and commas; line 22 cannot be read."""
    captions = [
        '"Woman, old, in a suit"', '"A "stop" sign, red."', '"A /"kitchen/" sign"', '"two ""quoted"" words"',
        'A man with a "hat"', '"never closed', "plain",
    ]  # fmt: skip
    rows = ["ImageID,Labels,Caption"]
    counts: Counts = Counter()
    for number in range(70):
        layouts.draw(root / "data" / f"{number}.jpg", number)
        present = [str(item) for item in divisors(number, (2, 3, 5, 17))] or ["1"]
        caption = "one, two, three" if number == 20 else captions[number % 7]
        counts.update(present if number != 20 else [])
        rows.append(f"{number}.jpg,{' '.join(present)},{caption}")
    (root / "train.csv").write_text("\n".join(rows) + "\n")
    return counts


def names_file(root: Path) -> Counts:
    """Numbers from 0 in the table, their names in a list."""
    names = ("person", "fire hydrant", "cat")
    root.mkdir()
    (root / "obj.names").write_text("\n".join(names) + "\n")
    rows = ["filename,labels"]
    counts: Counts = Counter()
    for number in range(60):
        layouts.draw(root / "images" / f"img_{number}.jpg", number)
        present = [index for index, divisor in enumerate((2, 3, 5)) if number % divisor == 0]
        counts.update(names[index] for index in present)
        rows.append(f'img_{number}.jpg,"{",".join(map(str, present))}"')
    (root / "labels.csv").write_text("\n".join(rows))
    return counts


def only_matlab(root: Path) -> Counts:
    """Labels that only MATLAB reads, and a table with them beside the folder."""
    rows = ["file,tags"]
    counts: Counts = Counter()
    for number in range(1, 41):
        layouts.draw(root / "jpg" / f"image_{number:05d}.jpg", number)
        present = [f"flower {item}" for item in divisors(number, (2, 3))]
        counts.update(present)
        rows.append(f"image_{number:05d}.jpg,{';'.join(present)}")
    (root / "imagelabels.mat").write_bytes(b"MATLAB 5.0 MAT-file, Platform: GLNXA64")
    (root.parent / "written.csv").write_text("\n".join(rows))
    return counts


@dataclass(frozen=True)
class Shape:
    make: Callable[[Path], Counts]
    error: str | None  # names the options
    options: str = ""


SHAPES = {
    "numbered folders": Shape(
        numbered_folders, "pass --labels-from folders", "--labels-from folders --label-names cat_to_name.json"
    ),
    "shards": Shape(shards, None),
    "one-hot ids": Shape(one_hot_ids, None),
    "irregular quotes": Shape(irregular_quotes, "line 22: .* pass --skip-bad-rows", "--skip-bad-rows"),
    "names file": Shape(names_file, "pass --label-names obj.names", "--label-names obj.names"),
    "only MATLAB": Shape(only_matlab, "imagelabels.mat: MATLAB, .* pass --table FILE", "--table written.csv"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_published_layout_gives_the_right_labels(name: str, tmp_path: Path, init: Any) -> None:
    shape, folder = SHAPES[name], tmp_path / "set"
    counts = shape.make(folder)
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    if shape.error is not None:
        assert re.search(shape.error, init.refuse(Path("set")), re.DOTALL)
    printed = init.accept(Path("set"), *shlex.split(shape.options))
    listing = load_recipe("set.yaml").data.read(tmp_path, silent)
    names = listing.labels.names
    samples = [sample for samples in listing.splits.values() for sample in samples]
    assert Counter(names[label] for sample in samples for label in sample.positives) == counts
    each = printed.partition("images of each: ")[2].splitlines()[0]
    assert dict(entry.rsplit(" ", 1) for entry in each.split(", ")) == {name: str(n) for name, n in counts.items()}
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before
