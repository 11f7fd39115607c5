"""The advice of `init`: every key that an error names is an option, and following the advice solves the problem."""

import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.init.options import option_keys
from tests.helpers.tagged_folder import draw, write_table

ROOT = Path(__file__).parents[3]
READERS = ("mlkd/data/sources", "pipeline/init")  # whose errors `init` can show
OWN = {"out", "force", "corrections"}  # options of the command that are no keys of a recipe
COUNT = 24


def test_every_key_that_an_error_names_is_an_option() -> None:
    texts = [file.read_text(encoding="utf-8") for folder in READERS for file in (ROOT / folder).glob("*.py")]
    keys = {key for text in texts for key in re.findall(r"\bset (\w+): ", text)}
    assert len(keys) > 10
    assert keys - {key.name for key in option_keys()} == set()
    options = {key for text in texts for key in re.findall(r"pass --([a-z-]+)", text)}
    assert options <= OWN


def tags(number: int) -> list[str]:
    return [tag for divisor, tag in ((2, "cat"), (3, "dog"), (5, "owl")) if number % divisor == 0]


def table(folder: Path, header: Sequence[str], row: Callable[[int], Sequence[object]], name: str = "tags.csv") -> None:
    write_table(folder / name, [row(number) for number in range(COUNT)], header)


def joined(number: int) -> str:
    return ";".join(tags(number))


def has(number: int, no: object = 0) -> list[object]:
    return [1 if tag in tags(number) else no for tag in ("cat", "dog", "owl")]


def several_tables(folder: Path) -> None:
    table(folder, ("file", "tags"), lambda n: (f"{n}.png", joined(n)), "one table.csv")
    table(folder, ("file", "tags"), lambda n: (f"{n}.png", "cat"), "two.csv")


def two_folders(folder: Path) -> None:
    draw(folder, COUNT, "small/{}.jpg")
    for file in folder.glob("*.png"):
        file.unlink()
    draw(folder, COUNT, "large/{}.png")
    table(folder, ("file", "tags"), lambda n: (n, joined(n)))


def with_rows(folder: Path, *more: str) -> None:
    table(folder, ("file", "tags"), lambda n: (f"{n}.png", joined(n)))
    with (folder / "tags.csv").open("a") as stream:
        stream.writelines(f"{line}\n" for line in more)


def with_names(folder: Path) -> None:
    names = ["cat", "dog", "owl"]
    table(folder, ("file", "tags"), lambda n: (f"{n}.png", ";".join(str(names.index(tag)) for tag in tags(n))))
    (folder / "class names.txt").write_text("\n".join(names))


def in_folders(folder: Path) -> None:
    for number in range(COUNT):
        (folder / str(number % 3)).mkdir(exist_ok=True)
        (folder / f"{number}.png").rename(folder / str(number % 3) / f"{number}.png")


THREE = {"cat": 12, "dog": 8, "owl": 5}
# The fault, the advice, the options that the user passes (empty: the advice), and the labels that result.
CASES: dict[str, tuple[Callable[[Path], None], str, str, dict[str, int]]] = {
    "several tables": (several_tables, "--table 'one table.csv'", "", THREE),
    "no table": (in_folders, "--labels-from folders", "", {"0": 8, "1": 8, "2": 8}),
    "two files of a name": (two_folders, "--suffix .png", "", THREE),
    "two files of a name, by folder": (two_folders, "--root FOLDER", "--root large", THREE),
    "a bad row": (lambda f: with_rows(f, "1.png,a,b"), "--skip-bad-rows", "", THREE),
    "rows of one file": (lambda f: with_rows(f, "1.png,owl"), "--merge-rows", "", {**THREE, "owl": 6}),
    "no zero, empty cells": (
        lambda f: table(f, ("file", "cat", "dog", "owl"), lambda n: (f"{n}.png", *has(n, ""))),
        "--negative-values '\"\"'", "", THREE,
    ),
    "no zero, -1": (
        lambda f: table(f, ("file", "cat", "dog", "owl"), lambda n: (f"{n}.png", *has(n, -1))),
        "--negative-values -1", "", THREE,
    ),
    "a column that is no label": (
        lambda f: table(f, ("file", "cat", "dog", "owl", "fold no"), lambda n: (f"{n}.png", *has(n), n % 4)),
        "--ignore-columns 'fold no'", "", THREE,
    ),
    "another word for no": (
        lambda f: table(f, ("file", "cat", "dog", "owl"), lambda n: (f"{n}.png", *has(n, "absent"))),
        "--negative-values absent", "", THREE,
    ),
    "numbered columns of 0 and 1": (
        lambda f: table(f, ("file", "c1", "c2", "c3"), lambda n: (f"{n}.png", *has(n))),
        "--form one_hot", "", {"c1": 12, "c2": 8, "c3": 5},
    ),
    "columns of tags": (
        lambda f: table(f, ("file", "a", "b"), lambda n: (f"{n}.png", *(*tags(n), "", "")[:2])),
        "--form columns", "", {"cat": 12, "dog": 8, "owl": 4},
    ),
    "two columns of tags": (
        lambda f: table(f, ("file", "my labels", "class"), lambda n: (f"{n}.png", joined(n), "x")),
        "--tags-column NAME", "--tags-column 'my labels'", THREE,
    ),
    "label of 0 and 1, a label": (
        lambda f: table(f, ("file", "label"), lambda n: (f"{n}.png", n % 2)), "--form one_hot", "", {"label": 12}
    ),
    "label of 0 and 1, two tags": (
        lambda f: table(f, ("file", "label"), lambda n: (f"{n}.png", n % 2)), "--tags-column label", "",
        {"0": 12, "1": 12},
    ),
    "a column twice": (
        lambda f: table(f, ("file", "tags", "id", "id"), lambda n: (f"{n}.png", joined(n), n, n)),
        "--ignore-columns id", "", THREE,
    ),
    "a label everywhere": (
        lambda f: table(f, ("file", "tags"), lambda n: (f"{n}.png", ";".join(["my set", *tags(n)]))),
        "--ignore-labels 'my set'", "", THREE,
    ),
    "one label": (
        lambda f: table(f, ("file", "label", "tags of it"), lambda n: (f"{n}.png", "image", joined(n))),
        "--tags-column NAME", "--tags-column 'tags of it'", THREE,
    ),
    "a label an image": (
        lambda f: table(f, ("file", "tags"), lambda n: (f"{n}.png", "+".join([*tags(n), f"n{n}"]))),
        "--separator MARK", "--separator + --ignore-labels " + ",".join(f"n{n}" for n in range(COUNT)), THREE,
    ),
    "an unknown split": (
        lambda f: table(f, ("file", "tags", "split"), lambda n: (f"{n}.png", joined(n), f"part{n % 3}")),
        "--split-column NAME", "--split-column null", THREE,
    ),
    "numbers, and their names": (with_names, "--label-names 'class names.txt'", "", THREE),
    "numbers that stay": (with_names, "--label-names none", "", {"0": 12, "1": 8, "2": 5}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_following_the_advice_gives_the_right_labels(case: str, tmp_path: Path, init: Any) -> None:
    make, advice, options, labels = CASES[case]
    draw(tmp_path / "set", COUNT)
    make(tmp_path / "set")
    assert f"pass {advice}" in init.refuse(Path("set"), "--look")
    printed = init.accept(Path("set"), "--look", *shlex.split(options or advice))
    counts = printed.partition("images of each: ")[2].splitlines()[0]
    assert dict(entry.rsplit(" ", 1) for entry in counts.split(", ")) == {name: str(n) for name, n in labels.items()}


def test_a_warning_names_the_option_too(tmp_path: Path, init: Any) -> None:
    draw(tmp_path / "set", COUNT)
    table(tmp_path / "set", ("file", "tags"), lambda n: (f"{n}.png", joined(n).title() if n % 4 else joined(n)))
    printed = init.accept(Path("set"), "--look")
    assert "in case, spaces or Unicode form: 'cat' 6, 'Cat' 6; 'Dog' 6, 'dog' 2; " in printed
    assert "; pass --merge-labels" in printed
    printed = init.accept(Path("set"), "--look", "--merge-labels")
    assert "labels: 3; images of each: cat 12, Dog 8, Owl 5" in printed
