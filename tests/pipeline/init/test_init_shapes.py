"""Sets of tagged images as their owners publish them: `init` ends in the right labels, or in a question whose answer is
one more command.  What is right is counted anew here, from how each set was made.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlkd.core.progress import silent
from pipeline.__main__ import main
from pipeline.recipe.schema import load_recipe

Counts = Counter[str]


def draw(file: Path, number: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(number).integers(0, 255, (18, 24, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file)


def divisors(number: int, of: tuple[int, ...]) -> list[int]:
    return [divisor for divisor in of if number % divisor == 0]


def numbered_folders(root: Path) -> Counts:
    """Flowers in folders 1 to 4, and a list of what the numbers mean."""
    for number in range(48):
        draw(root / "train" / str(number % 4 + 1) / f"image_{number:05d}.jpg", number)
    (root / "cat_to_name.json").write_text('{"1": "rose", "2": "fire lily", "3": "iris", "4": "daffodil"}')
    return Counter({"rose": 12, "fire lily": 12, "iris": 12, "daffodil": 12})


def shards(root: Path) -> Counts:
    """Images spread over numbered folders that mean nothing, and a table that names them without folder."""
    rows = ["Image Index,Finding Labels,Age"]
    counts: Counts = Counter()
    for number in range(60):
        draw(root / f"images_{number % 3:03d}" / "images" / f"{number:08d}_000.png", number)
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
        draw(root / "Training" / f"{number}.png", number)
        found = divisors(number, (2, 3, 5))
        counts.update(name for name, has in (("DR", 2), ("ARMD", 3), ("MH", 5)) if has in found)
        counts.update(["Disease_Risk"] if found else [])
        rows.append(f"{number},{int(bool(found))},{','.join(str(int(one in found)) for one in (2, 3, 5))}")
    (root / "RFMiD_Training_Labels.csv").write_text("\ufeff" + "\r\n".join(rows) + "\r\n")
    return counts


def irregular_quotes(root: Path) -> Counts:
    """Numbers joined by spaces beside captions whose quotes and commas follow no rule; line 22 cannot be read."""
    captions = [
        '"Woman, old, in a suit"', '"A "stop" sign, red."', '"A /"kitchen/" sign"', '"two ""quoted"" words"',
        'A man with a "hat"', '"never closed', "plain",
    ]  # fmt: skip
    rows = ["ImageID,Labels,Caption"]
    counts: Counts = Counter()
    for number in range(70):
        draw(root / "data" / f"{number}.jpg", number)
        found = [str(one) for one in divisors(number, (2, 3, 5, 17))] or ["1"]
        caption = "one, two, three" if number == 20 else captions[number % 7]
        counts.update(found if number != 20 else [])
        rows.append(f"{number}.jpg,{' '.join(found)},{caption}")
    (root / "train.csv").write_text("\n".join(rows) + "\n")
    return counts


def names_file(root: Path) -> Counts:
    """Numbers from 0 in the table, their names in a list."""
    names = ("person", "fire hydrant", "cat")
    (root / "obj.names").parent.mkdir(parents=True)
    (root / "obj.names").write_text("\n".join(names) + "\n")
    rows = ["filename,labels"]
    counts: Counts = Counter()
    for number in range(60):
        draw(root / "images" / f"img_{number}.jpg", number)
        found = [at for at, divisor in enumerate((2, 3, 5)) if number % divisor == 0]
        counts.update(names[at] for at in found)
        rows.append(f'img_{number}.jpg,"{",".join(map(str, found))}"')
    (root / "labels.csv").write_text("\n".join(rows))
    return counts


def only_matlab(root: Path) -> Counts:
    """Labels that only MATLAB reads; what the question asks for lies beside the folder."""
    rows = ["file,tags"]
    counts: Counts = Counter()
    for number in range(1, 41):
        draw(root / "jpg" / f"image_{number:05d}.jpg", number)
        found = [f"flower {one}" for one in divisors(number, (2, 3))]
        counts.update(found)
        rows.append(f"image_{number:05d}.jpg,{';'.join(found)}")
    (root / "imagelabels.mat").write_bytes(b"MATLAB 5.0 MAT-file, Platform: GLNXA64")
    (root.parent / "written.csv").write_text("\n".join(rows))
    return counts


@dataclass(frozen=True)
class Shape:
    make: Callable[[Path], Counts]
    question: str | None  # the option that the refusal names
    answer: str = ""


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
def test_a_published_shape_ends_in_the_right_labels(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shape, folder = SHAPES[name], tmp_path / "set"
    counts = shape.make(folder)
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    ended = main(["init", "set"])
    said = capsys.readouterr()
    if shape.question is None:
        assert ended == 0, said.err
    else:
        assert ended == 2
        assert re.search(shape.question, said.err, re.DOTALL), said.err
        assert main(["init", "set", *shlex.split(shape.answer)]) == 0, capsys.readouterr().err
        said = capsys.readouterr()
    listing = load_recipe("set.yaml").data.read(tmp_path, silent)
    names = listing.labels.names
    read = Counter(names[one] for images in listing.splits.values() for image in images for one in image.positives)
    assert read == counts
    printed = said.out.partition("images of each: ")[2].splitlines()[0]
    assert dict(entry.rsplit(" ", 1) for entry in printed.split(", ")) == {one: str(n) for one, n in counts.items()}
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before
