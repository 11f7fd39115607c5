"""The recipe that `init` writes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from mlkd.core.progress import silent
from mlkd.data import Folder
from mlkd.data.prepared import read_split
from mlkd.models.weights import PackageWeights
from pipeline import stages
from pipeline.init import draft, survey
from pipeline.recipe.schema import load_recipe, read_recipe
from pipeline.search.candidates import candidates
from tests.helpers import layouts
from tests.helpers.tagged_folder import tags, write_table

COUNT = 40
RECIPE = "my-pets.yaml"


def test_the_recipe_is_named_after_the_folder_and_runs(folder: Path, tmp_path: Path, init: Any) -> None:
    before = sorted(folder.rglob("*"))
    assert f"wrote {RECIPE}; next: python -m pipeline plan --recipe {RECIPE}" in init.accept(folder)
    recipe = load_recipe(RECIPE)
    assert isinstance(recipe.data, Folder)
    assert recipe.data.root == folder
    assert recipe.student.model.image_px <= recipe.teacher.model.image_px
    stages.pipeline(recipe, tmp_path / "runs").until("data").run()
    assert read_split(tmp_path / "runs/data", "train").labels.names == ("cat", "owl", "pet", "red dog")
    assert sorted(folder.rglob("*")) == before


def test_one_number_is_the_length_of_training(folder: Path, init: Any) -> None:
    init.accept(folder)
    text = Path(RECIPE).read_text()
    assert re.findall(r"\bepochs: (\d+)", text) == ["20"]
    after = read_recipe(text.replace("epochs: 20", "epochs: 40"), Path("a.yaml"))
    assert after.teacher.training.epochs == after.student.training.epochs == after.baseline.epochs == 40


def test_the_commented_line_adds_images_without_tags(folder: Path, tmp_path: Path, init: Any) -> None:
    layouts.draw(folder / "new/other.png", 99)
    init.accept(folder)
    Path(RECIPE).write_text(Path(RECIPE).read_text().replace("# unlabelled", "unlabelled"))
    train = load_recipe(RECIPE).data.read(tmp_path, silent).splits["train"]
    assert [sample.name for sample in train if not sample.labelled] == ["new/other.png"]


def test_the_commented_section_is_a_search(folder: Path, init: Any) -> None:
    init.accept(folder)
    lines = Path(RECIPE).read_text().splitlines()
    start = lines.index("# search:")
    end = lines.index("", start)
    section = [line.removeprefix("# ") for line in lines[start:end]]
    recipe = read_recipe("\n".join([*lines[:start], *section, *lines[end:]]), Path("a.yaml"))
    assert recipe.search is not None
    found = candidates(recipe.search, recipe.student.model)
    assert len(found) == 2 * 3 * 2 * 2
    assert recipe.student.model in [one.model for one in found]
    assert all(isinstance(one.model.weights, PackageWeights) for one in found)


def test_look_writes_nothing(folder: Path, tmp_path: Path, init: Any) -> None:
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    assert "nothing was written" in init.accept(folder, "--look")
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == before


def test_only_recipes_of_init_are_replaced(folder: Path, init: Any) -> None:
    init.accept(folder)
    written = Path(RECIPE).read_text()
    Path(RECIPE).write_text(written + "seed: 3\n")
    assert f"expected a new file, got {RECIPE}, which exists; pass --force" in init.refuse(folder)
    init.accept(folder, "--force")
    assert Path(RECIPE).read_text() == written
    Path(RECIPE).write_text("mine")
    assert "expected a recipe that this command wrote" in init.refuse(folder, "--force")
    assert Path(RECIPE).read_text() == "mine"
    assert "expected a name of letters, digits, - and _ that ends in .yaml" in init.refuse(folder, "--out", "a.txt")


def test_nothing_is_written_into_the_folder(folder: Path, init: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    message = init.refuse(Path())
    assert "expected a file outside ., where nothing is written, got" in message
    assert "pass --out ../" in message
    init.accept(Path(), "--out", "../pets.yaml")
    assert not list(folder.glob("*.yaml"))


def test_sizes_grow_with_the_number_of_images(folder: Path) -> None:
    surveyed = survey.survey(folder, {})
    rows, costs = surveyed.result.rows, []
    for scale in draft.SCALES:
        count = int(min(scale.images, 150_000))
        object.__setattr__(surveyed.result, "rows", (rows * (count // COUNT + 1))[:count])
        assert draft.scale_of(surveyed) == scale
        recipe = read_recipe(draft.recipe_text(surveyed), Path("mine.yaml"))
        assert recipe.student.training.batch_size * 4 <= count
        costs.append((recipe.teacher.model.image_px, recipe.student.model.image_px, -recipe.student.training.epochs))
    assert costs == sorted(costs)


def test_every_option_reaches_the_recipe(folder: Path, tmp_path: Path, init: Any) -> None:
    """Each option that differs from the guess is in the recipe and is read back."""
    rows = [(f"{number}", " ; ".join(tags(number)).title(), "x", "train") for number in range(COUNT)]
    write_table(folder / "tags.csv", rows, ("key", "words", "odd", "part"))
    (folder / "names.txt").write_text("1 Cat\n")
    init.accept(
        folder, "--form", "tags", "--file-column", "key", "--tags-column", "words", "--separator", " ; ",
        "--suffix", ".png", "--root", ".", "--ignore-columns", "odd", "--ignore-labels", "Owl",
        "--split-column", "none",
        "--negative-values=-1,", "--merge-labels", "--merge-rows", "--skip-bad-rows", "--label-names", "none",
        "--labels-from", "table", "--table", "tags.csv",
    )  # fmt: skip
    source = load_recipe(RECIPE).data
    assert source == Folder(
        root=folder, form="tags", file_column="key", tags_column="words", separator=" ; ", suffix=".png",
        ignore_columns=("odd",), ignore_labels=("Owl",), split_column=None, negative_values=("-1", ""),
        merge_labels=True, merge_rows=True, skip_bad_rows=True,
    )  # fmt: skip
    assert source.read(tmp_path, silent).labels.names == ("Cat", "Pet", "Red Dog")
