"""How `init` reads a user's folder, and what it prints."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mlkd.core.progress import silent
from mlkd.data import Folder
from mlkd.data.base import Listing
from mlkd.data.prepared import read_split
from pipeline import stages
from pipeline.init import survey
from pipeline.recipe.schema import load_recipe
from tests.helpers import layouts
from tests.helpers.tagged_folder import tags, write_table

COUNT = 40
RECIPE = "my-pets.yaml"


def read(recipe: str = RECIPE) -> tuple[Folder, Listing]:
    """The source of a recipe, and its images as the data stage reads them."""
    source = load_recipe(recipe).data
    assert isinstance(source, Folder)
    return source, source.read(Path(), silent)


def split_counts(listing: Listing) -> str:
    return ", ".join(f"{split} {len(images)}" for split, images in listing.splits.items())


def test_the_folder_is_described(folder: Path, init: Any) -> None:
    (folder / "3.png").unlink()
    (folder / "4.png").write_bytes((folder / "4.png").read_bytes()[:100])
    layouts.draw(folder / "new/other.JPG", 99)
    (folder / "labels.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    (folder / "list.xlsx").write_bytes(b"PK")
    lines = init.accept(folder).splitlines()
    counts = Counter(len(tags(number)) for number in range(COUNT) if number != 3)
    expected = [
        "images: 40 in the folder, 38 used, 1 missing, 1 not in the table, 1 of 39 checked are unreadable",
        "labels: 4; images of each: cat 20, red dog 13, pet 6, owl 2",  # by hand from `tags`, without number 3
        "rarest: owl 2, pet 6, red dog 13, cat 20",
        f"labels per image: mean 1.1; {', '.join(f'{number}: {many}' for number, many in sorted(counts.items()))}",
        "  0.png → pet, cat, red dog, owl",
        "  39.png → red dog",
        "not used: labels.mat: MATLAB, not read: write it as .csv and pass --table FILE",
        "not used: list.xlsx: spreadsheet, not read: save it as .csv and pass --table FILE",
        "warning: 2 labels have fewer than 10 images and are hard to learn: owl 2; pet 6",
        "warning: 1 rows have no image: 3.png",
        f"split: by hash of the file names: {split_counts(read()[1])}",
    ]
    assert [line for line in expected if line not in lines] == []
    assert any(line.startswith("warning: 1 images cannot be read: image 4.png: ") for line in lines)
    assert "# unlabelled: ." in Path(RECIPE).read_text()


@pytest.mark.parametrize("count", [40, 39])
def test_only_some_images_are_decoded(count: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every fourth from the first to the last, also if that is not exactly ten times."""
    monkeypatch.setattr(survey, "DECODED", 10)
    write_table(folder / "tags.csv", [(f"{number}.png", ";".join(tags(number))) for number in range(count)])
    (folder / "1.png").write_bytes(b"not decoded")
    surveyed = survey.survey(folder, {})
    assert surveyed.decoded == 10
    assert not surveyed.unreadable
    assert f" {count} used," in surveyed.lines()[1]
    (folder / "36.png").write_bytes(b"decoded")
    surveyed = survey.survey(folder, {})
    assert len(surveyed.unreadable) == 1
    assert f" about {count - 4} used," in surveyed.lines()[1]


def test_sub_folders_become_labels(tmp_path: Path, init: Any) -> None:
    folder = tmp_path / "images"
    for number in range(12):
        layouts.draw(folder / ("animals/cats" if number % 2 else "house; old|grey") / f"{number}.jpg", number)
    layouts.draw(folder / "animals/cats/bad.jpg", 12)
    (folder / "animals/cats/bad.jpg").rename(os.fsdecode(os.fsencode(folder / "animals/cats") + b"/b\xe4r.jpg"))
    printed = init.accept(folder)
    assert "labels from the names of the sub-folders" in printed
    assert "warning: 1 rows have no image: 'animals/cats/b\\udce4r.jpg'" in printed
    _, listing = read("images.yaml")
    assert listing.labels.names == ("animals", "cats", "house; old|grey")
    samples = [sample for samples in listing.splits.values() for sample in samples]
    assert Counter(sample.positives for sample in samples) == {(0, 1): 6, (2,): 6}
    assert {sample.file.parent.name for sample in samples if sample.positives == (0, 1)} == {"cats"}


def test_sub_folders_named_like_splits_are_splits(tmp_path: Path, init: Any) -> None:
    for number, split in enumerate(("train", "valid", "test") * 6):
        layouts.draw(tmp_path / "set" / split / ("cat" if number % 2 else "dog") / f"{number}.png", number)
    assert "split: by sub-folders: train 6, val 6, test 6\n" in init.accept(tmp_path / "set")
    assert read("set.yaml")[1].labels.names == ("cat", "dog")


@pytest.mark.parametrize(
    ("name", "reason"),
    [("{0:03d}", "numbers"), ("only", "one label"), ("label{1}", "one image a label"), ("pictures", "no label's name")],
)
def test_doubtful_sub_folders_are_refused(name: str, reason: str, tmp_path: Path, init: Any) -> None:
    for number in range(12):
        layouts.draw(tmp_path / "set" / name.format(number % 4, number) / f"{number}.png", number)
    message = init.refuse(tmp_path / "set")
    assert "expected a table of tags, got none, and 12 images in" in message, reason
    assert "pass --table FILE" in message
    assert not list(tmp_path.glob("*.yaml"))


@pytest.mark.parametrize("separator", ["|", ",", " "])
def test_table_columns_and_separator_are_guessed(separator: str, folder: Path, init: Any) -> None:
    (folder / "tags.csv").unlink()
    names = {number: [tag.replace(" ", "-") for tag in tags(number)] for number in range(COUNT)}
    rows = [(separator.join(names[number]), f"{number}") for number in range(COUNT)]
    write_table(folder / "list.csv", rows, ("Keywords", "which"))
    init.accept(folder)
    source, _ = read()
    assert (source.table, source.file_column, source.separator) == ("list.csv", "which", separator)
    assert {int(Path(row.file).stem): list(row.tags) for row in source.read_rows().rows} == names


def test_names_of_several_words_are_not_split(folder: Path, init: Any) -> None:
    names = [f"{colour} {animal}" for colour in ("red", "grey", "white") for animal in ("cat", "dog", "owl")]
    write_table(folder / "tags.csv", [(f"{number}.png", names[number % 9]) for number in range(COUNT)])
    init.accept(folder)
    assert read()[1].labels.names == tuple(sorted(names))


def test_json_lines_with_images_in_sub_folders(folder: Path, init: Any) -> None:
    (folder / "tags.csv").unlink()
    lines = [json.dumps({"picture": f"{number}.png", "tags": tags(number)}) for number in range(COUNT)]
    (folder / "some.jsonl").write_text("\n".join(lines))
    for number in range(COUNT):
        (folder / f"images_{number % 3}").mkdir(exist_ok=True)
        (folder / f"{number}.png").rename(folder / f"images_{number % 3}/{number}.png")
    init.accept(folder)
    source, listing = read()
    assert source.file_column == "picture"
    assert listing.labels.names[0] == "cat"
    assert not listing.skipped
    assert source.fingerprint()


def test_the_table_that_names_images_is_used(folder: Path, tmp_path: Path, init: Any) -> None:
    (folder / "tags.csv").rename(folder / "a.csv")
    write_table(folder / "notes.csv", [("somebody", "somewhere")], ("who", "where"))
    printed = init.accept(folder)
    assert "table a.csv (form tags, file column file" in printed
    assert "not used: notes.csv: table, 1 rows, columns who, where" in printed
    write_table(folder / "b.csv", [(f"{number}.png", "cat") for number in range(COUNT)])
    message = init.refuse(folder, "--force")
    assert "expected one table of tags, got 2:\n    a.csv: table, 40 rows, columns file, tags\n" in message
    (tmp_path / "mine.tsv").write_text((folder / "a.csv").read_text().replace(",", "\t"))
    init.accept(folder, "--force", "--table", "mine.tsv")
    assert read()[0].table == str(tmp_path / "mine.tsv")


def test_symbolic_links_are_followed(folder: Path, tmp_path: Path, init: Any) -> None:
    """Links to files and to folders, one of them circular, and one to a missing file."""
    linked = tmp_path / "linked"
    (linked / "more").mkdir(parents=True)
    (linked / "tags.csv").symlink_to(folder / "tags.csv")
    for number in range(20):
        (linked / f"{number}.png").symlink_to(folder / f"{number}.png")
    (tmp_path / "others").mkdir()
    for number in range(20, 39):
        (folder / f"{number}.png").rename(tmp_path / "others" / f"{number}.png")
    (linked / "more/others").symlink_to(tmp_path / "others")
    (linked / "more/circle").symlink_to(linked)
    (linked / "39.png").symlink_to(tmp_path / "nothing.png")
    assert "images: 39 in the folder, 39 used, 1 missing" in init.accept(linked)
    _, listing = read("linked.yaml")
    assert listing.skipped == {"39.png": f"missing file {linked / '39.png'} (a symbolic link to a missing file)"}
    stages.pipeline(load_recipe("linked.yaml"), tmp_path / "runs").until("data").run()
    assert sum(len(read_split(tmp_path / "runs/data", split)) for split in ("train", "select", "tune", "test")) == 39


def test_dead_links_are_no_images_and_no_tables(tmp_path: Path, init: Any) -> None:
    folder = tmp_path / "set"
    for number in range(12):
        layouts.draw(folder / ("cat" if number % 2 else "dog") / f"{number}.png", number)
    for name in ("cat/x.png", "tags.csv", "names.txt"):
        (folder / name).symlink_to(tmp_path / "nothing")
    printed = init.accept(folder)
    assert "images: 12 in the folder, 12 used, 1 missing, 0 not in the table, 0 of 12 checked" in printed
    assert "not used: tags.csv: a symbolic link to a missing file" in printed
    _, listing = read("set.yaml")
    assert listing.skipped == {"cat/x.png": f"{folder}/cat/x.png: a symbolic link to a missing file"}
    message = init.refuse(folder, "--force", "--table", "tags.csv")
    assert "expected a table, got none; pass --table FILE" in message


def test_splits_of_the_table_are_used(folder: Path, init: Any) -> None:
    rows = [(f"{number}.png", ";".join(tags(number)), "Train" if number % 4 else "Test") for number in range(COUNT)]
    write_table(folder / "tags.csv", rows, ("file", "tags", "subset"))
    printed = init.accept(folder)
    _, listing = read()
    assert f"split: by column subset: {split_counts(listing)} (given without val)" in printed
    assert {int(sample.file.stem) for sample in listing.splits["test"]} == set(range(0, COUNT, 4))
    assert listing.splits["val"]


@pytest.mark.parametrize(
    ("name", "tag", "message"),
    [
        ("{}.png", "", "expected tags, got none in 40 images; pass --tags-column"),
        ("x{}.png", "cat", "got 0 images and 0 tags; 40 of its files are not below"),
        ("{}.png", "tag{}", "expected a label with at least 3 images, one each for train, val and test"),
    ],
)
def test_unusable_tags_are_refused(name: str, tag: str, message: str, folder: Path, init: Any) -> None:
    rows = [(name.format(number), tag.format(number // 2)) for number in range(COUNT)]
    write_table(folder / "tags.csv", rows)
    assert message in init.refuse(folder)
    assert not list(Path().glob("*.yaml"))


def test_the_data_stage_refuses_unlearnable_labels_too(folder: Path) -> None:
    write_table(folder / "tags.csv", [(f"{number}.png", "image") for number in range(COUNT)])
    with pytest.raises(ValueError, match="got only 'image', on all of 40 images; set tags_column: NAME"):
        Folder(root=folder).fingerprint()  # `plan` calls it


def test_a_folder_without_images_is_refused(tmp_path: Path, init: Any) -> None:
    assert "expected a folder with images, got nothing at " in init.refuse(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/a.txt").write_text("x")
    assert "expected images, got none; pass --root FOLDER" in init.refuse(tmp_path / "empty")
