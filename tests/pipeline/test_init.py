"""`python -m pipeline init FOLDER`: what it says of a user's folder, and the recipe that it writes."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlkd.data import Folder, read_split
from pipeline import init as starting
from pipeline import stages, survey
from pipeline.__main__ import main
from pipeline.recipe import load_recipe

COUNT = 40


def picture(file: Path, seed: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (18, 24, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file)


def write(file: Path, rows: Sequence[Sequence[str]], header: Sequence[str] = ("file", "tags")) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])


def tags(number: int) -> list[str]:
    return [tag for divisor, tag in ((1, "pet"), (2, "cat"), (3, "red dog"), (20, "owl")) if number % divisor == 0]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """my pets/: 40 pictures, tags.csv."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my pets"
    for number in range(COUNT):
        picture(folder / f"{number}.png", number)
    write(folder / "tags.csv", [(f"{number}.png", ";".join(tags(number))) for number in range(COUNT)])
    return folder


def told(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str) -> str:
    assert main(["init", str(folder), *arguments]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str) -> str:
    assert main(["init", str(folder), *arguments]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error in init:")
    assert "Traceback" not in said.err
    return said.err


def test_the_recipe_is_named_after_the_folder_and_runs(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = told(capsys, folder)
    assert "next: python -m pipeline plan --recipe my-pets.yaml" in said
    recipe = load_recipe("my-pets.yaml")
    assert isinstance(recipe.data, Folder)
    assert recipe.data.root == folder
    assert recipe.student.training.epochs == recipe.baseline.epochs == recipe.teacher.training.epochs
    assert recipe.student.model.image_px <= recipe.teacher.model.image_px
    stages.line(recipe, tmp_path / "runs").until("data").run()
    assert read_split(tmp_path / "runs/data", "train").labels.names == ("cat", "owl", "pet", "red dog")
    assert main(["plan", "--recipe", "my-pets.yaml"]) == 0


def test_what_is_found_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "3.png").unlink()
    (folder / "4.png").write_bytes((folder / "4.png").read_bytes()[:100])
    picture(folder / "new/other.JPG", 99)
    said = told(capsys, folder, "--out", "pets.yaml")
    assert "39 pictures by tags.csv (form tags), 4 labels" in said
    assert "labels a picture: 1.9; 1: 13, 2: 18, 3: 7, 4: 1" in said  # by hand from `tags`, without number 3
    assert "pictures of each label: pet 39, cat 20, red dog 13, owl 2" in said
    assert "warning: 1 labels with fewer than 10 pictures, hardly learnt: owl 2\n" in said
    assert "warning: 1 rows of the table without a file: 3.png" in said
    assert "warning: 1 pictures that cannot be read, of 39 looked at: picture 4.png: " in said
    assert "1 more pictures are not in the table" in said
    assert "# unlabelled: ." in Path("pets.yaml").read_text()


def test_the_commented_line_adds_pictures_without_tags(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(folder / "new/other.png", 99)
    told(capsys, folder, "--out", "pets.yaml")
    Path("pets.yaml").write_text(Path("pets.yaml").read_text().replace("# unlabelled", "unlabelled"))
    listing = load_recipe("pets.yaml").data.read(tmp_path, lambda *_: None)
    assert [one.name for one in listing.splits["train"] if not one.labelled] == ["new/other.png"]


@pytest.mark.parametrize("count", [40, 39])
def test_only_some_pictures_are_opened(count: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every fourth from the first to the last, also where that is not quite ten times."""
    monkeypatch.setattr(survey, "LOOKED_AT", 10)
    write(folder / "tags.csv", [(f"{number}.png", "pet") for number in range(count)])
    (folder / "1.png").write_bytes(b"not looked at")
    assert survey.survey(folder).looked_at == 10
    assert not survey.survey(folder).unreadable
    (folder / "36.png").write_bytes(b"looked at")
    assert len(survey.survey(folder).unreadable) == 1


def test_sub_folders_become_tags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "pictures"
    for number in range(12):
        picture(folder / ("animals/cats" if number % 2 else "house; old") / f"{number}.jpg", number)
    said = told(capsys, folder, "--out", str(tmp_path / "mine.yaml"))
    assert f"no table found: wrote {folder}/tags.csv with the names of the sub-folders as tags" in said
    with (folder / "tags.csv").open(newline="") as stream:
        rows = {row["file"]: row["tags"] for row in csv.DictReader(stream)}
    assert len(rows) == 12
    assert rows["animals/cats/1.jpg"] == "animals;cats"
    assert rows["house; old/2.jpg"] == "house, old"
    assert load_recipe(str(tmp_path / "mine.yaml")).name == "mine"


def test_a_folder_with_a_bar_in_its_name_is_one_tag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(12):
        picture(tmp_path / "pictures" / ("a|b" if number % 2 else "c|d") / f"{number}.png", number)
    assert "pictures of each label: a|b 6, c|d 6" in told(
        capsys, tmp_path / "pictures", "--out", str(tmp_path / "mine.yaml")
    )
    data = load_recipe(str(tmp_path / "mine.yaml")).data
    assert data.read(tmp_path, lambda *_: None).labels.names == ("a|b", "c|d")


def test_folders_named_as_splits_are_splits(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "val", "test") * 4):
        picture(tmp_path / split / ("cat" if number % 2 else "dog") / f"{number}.png", number)
    assert survey.tag_by_folders(tmp_path) == tmp_path / "tags.csv"
    listing = Folder(root=tmp_path).read(tmp_path, lambda *_: None)
    assert listing.labels.names == ("cat", "dog")
    assert {split: len(pictures) for split, pictures in listing.splits.items()} == {"train": 4, "val": 4, "test": 4}
    assert survey.tag_by_folders(tmp_path) is None  # never over a table


@pytest.mark.parametrize("delimiter", [";", "|"])
def test_other_names_of_table_column_and_delimiter(
    delimiter: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "tags.csv").unlink()
    write(
        folder / "list.csv",
        [(f"{number}.png", delimiter.join(tags(number))) for number in range(COUNT)],
        ("image", "tags"),
    )
    told(capsys, folder)
    data = load_recipe("my-pets.yaml").data
    assert isinstance(data, Folder)
    assert (data.tags, data.file_column, data.delimiter) == ("list.csv", "image", delimiter)
    assert data.read(folder, lambda *_: None).labels.names == ("cat", "owl", "pet", "red dog")


def test_json_lines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "tags.csv").unlink()
    lines = [json.dumps({"filename": f"{number}.png", "tags": tags(number)}) for number in range(COUNT)]
    (folder / "tags.jsonl").write_text("\n".join(lines))
    assert "40 pictures by tags.jsonl" in told(capsys, folder)
    assert load_recipe("my-pets.yaml").data.read(folder, lambda *_: None).labels.names[0] == "cat"


def test_pictures_in_one_folder_beside_the_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "images").mkdir()
    for file in folder.glob("*.png"):
        file.rename(folder / "images" / file.name)
    told(capsys, folder)
    data = load_recipe("my-pets.yaml").data
    assert isinstance(data, Folder)
    assert (data.root, data.tags) == (folder / "images", "../tags.csv")
    assert not data.read(folder, lambda *_: None).skipped
    assert data.fingerprint()


def test_a_comma_between_tags_is_warned_of(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "tags.csv", [(f"{number}.png", "cat, dog") for number in range(COUNT)])
    assert "1 labels hold a comma; if that is two tags, write ; between them: cat, dog" in told(capsys, folder)


def test_nothing_is_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("my-pets.yaml").write_text("mine")
    assert "expected no file yet, got my-pets.yaml" in refused(capsys, folder)
    assert Path("my-pets.yaml").read_text() == "mine"
    assert "expected a name of letters, digits, - and _ that ends in .yaml" in refused(capsys, folder, "--out", "a.txt")


def test_what_cannot_be_used_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "expected one with pictures, got nothing at " in refused(capsys, folder / "nowhere")
    (folder / "empty").mkdir()
    assert "expected tags.csv or tags.jsonl, or sub-folders" in refused(capsys, folder / "empty")
    write(folder / "tags.csv", [])
    assert "expected at least one picture, got 0" in refused(capsys, folder)
    write(folder / "tags.csv", [(f"{number}.png", "") for number in range(COUNT)])
    assert "expected at least 10 pictures and one tag, got 40 pictures and 0 tags" in refused(capsys, folder)
    write(folder / "tags.csv", [(f"{number}.gif", "cat") for number in range(COUNT)])
    assert "got 0 pictures and 0 tags; 40 of its files are not below" in refused(capsys, folder)
    write(folder / "tags.csv", [(f"{number}.png", f"tag{number // 2}") for number in range(COUNT)])
    assert "expected a label with at least 3 pictures, one each to learn from" in refused(capsys, folder)
    (folder / "tags.csv").unlink()
    for name in ("a.csv", "b.jsonl"):
        (folder / name).touch()
    assert "expected one table of tags, got a.csv, b.jsonl; name the right one tags.csv" in refused(capsys, folder)
    assert not list(Path().glob("*.yaml"))


def test_sizes_grow_with_the_number_of_pictures(folder: Path, tmp_path: Path) -> None:
    found = survey.survey(folder)
    costs = []
    for scale in starting.SCALES:
        count = int(min(scale.pictures, 150_000))
        of_size = dataclasses.replace(found, rows=(found.rows * (count // COUNT + 1))[:count])
        assert starting.scale_of(of_size) == scale
        (tmp_path / "mine.yaml").write_text(starting.recipe_text(of_size))
        recipe = load_recipe(str(tmp_path / "mine.yaml"))
        assert recipe.student.training.batch_size * 4 <= count
        costs.append((recipe.teacher.model.image_px, recipe.student.model.image_px, -recipe.student.training.epochs))
    assert costs == sorted(costs)
