"""`python -m pipeline init FOLDER`: what it says of a user's folder, and the recipe that it writes."""

from __future__ import annotations

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlkd.core.progress import silent
from mlkd.data import Folder, read_split
from pipeline import stages
from pipeline.__main__ import main
from pipeline.init import draft as starting
from pipeline.init import survey
from pipeline.recipe.schema import load_recipe, read_recipe

COUNT = 40


def image(file: Path, seed: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (18, 24, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file)


def write(file: Path, rows: Sequence[Sequence[str]], header: Sequence[str] = ("file", "tags")) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])


def tags(number: int) -> list[str]:
    return [tag for divisor, tag in ((7, "pet"), (2, "cat"), (3, "red dog"), (20, "owl")) if number % divisor == 0]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """my pets/: 40 images, tags.csv; the command runs beside it."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my pets"
    for number in range(COUNT):
        image(folder / f"{number}.png", number)
    write(folder / "tags.csv", [(f"{number}.png", ";".join(tags(number))) for number in range(COUNT)])
    return folder


def told(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str) -> str:
    assert main(["init", str(folder), *arguments]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str) -> str:
    assert main(["init", str(folder), *arguments]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error in init:")
    assert "Traceback" not in said.err
    return said.err


def read(recipe: str, tmp_path: Path) -> Folder:
    """The source of a recipe, which the data stage reads as well."""
    source = load_recipe(recipe).data
    assert isinstance(source, Folder)
    source.read(tmp_path, silent)
    return source


def test_the_recipe_is_named_after_the_folder_and_runs(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.rglob("*"))
    said = told(capsys, folder)
    assert "wrote my-pets.yaml; next: python -m pipeline plan --recipe my-pets.yaml" in said
    recipe = load_recipe("my-pets.yaml")
    assert isinstance(recipe.data, Folder)
    assert recipe.data.root == folder
    assert recipe.student.model.image_px <= recipe.teacher.model.image_px
    stages.pipeline(recipe, tmp_path / "runs").until("data").run()
    assert read_split(tmp_path / "runs/data", "train").labels.names == ("cat", "owl", "pet", "red dog")
    assert main(["plan", "--recipe", "my-pets.yaml"]) == 0
    assert sorted(folder.rglob("*")) == before


def test_one_number_is_the_length_of_training(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, folder)
    text = Path("my-pets.yaml").read_text()
    assert re.findall(r"\bepochs: (\d+)", text) == ["20"]
    before, after = load_recipe("my-pets.yaml"), read_recipe(text.replace("epochs: 20", "epochs: 40"), Path("a.yaml"))
    assert after.teacher.training.epochs == after.student.training.epochs == after.baseline.epochs == 40
    for stage in ("teacher", "student", "baseline"):
        assert after.estimates[stage] == pytest.approx(2 * before.estimates[stage])
    assert after.estimates["data"] == before.estimates["data"]


def test_what_is_understood_is_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "3.png").unlink()
    (folder / "4.png").write_bytes((folder / "4.png").read_bytes()[:100])
    image(folder / "new/other.JPG", 99)
    (folder / "labels.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    (folder / "list.xlsx").write_bytes(b"PK")
    said = told(capsys, folder, "--out", "pets.yaml").splitlines()
    counts = Counter(len(tags(number)) for number in range(COUNT) if number != 3)
    expected = [
        "images: 40 found, 38 used, 1 missing, 1 not in the table, 1 of 39 looked at unreadable",
        "labels: 4; images of each: cat 20, red dog 13, pet 6, owl 2",  # by hand from `tags`, without number 3
        "rarest: owl 2, pet 6, red dog 13, cat 20",
        f"labels an image: 1.1; {', '.join(f'{number}: {many}' for number, many in sorted(counts.items()))}",
        "  0.png → pet, cat, red dog, owl",
        "  39.png → red dog",
        "not used: labels.mat: MATLAB, not read: write it as .csv and pass --table FILE",
        "not used: list.xlsx: spreadsheet, not read: save it as .csv and pass --table FILE",
        "warning: 2 labels with fewer than 10 images, hardly learnt: owl 2; pet 6",
        "warning: 1 rows without an image: 3.png",
    ]
    assert [line for line in expected if line not in said] == []
    assert any(line.startswith("warning: 1 images cannot be read: image 4.png: ") for line in said)
    listing = load_recipe("pets.yaml").data.read(folder, silent)
    assert f"split: cut by hash of the file names: {_counts(listing.splits)}" in said
    assert "# unlabelled: ." in Path("pets.yaml").read_text()


def _counts(splits: dict[str, list[object]]) -> str:
    return ", ".join(f"{split} {len(images)}" for split, images in splits.items())


def test_the_commented_line_adds_images_without_tags(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image(folder / "new/other.png", 99)
    told(capsys, folder, "--out", "pets.yaml")
    Path("pets.yaml").write_text(Path("pets.yaml").read_text().replace("# unlabelled", "unlabelled"))
    listing = load_recipe("pets.yaml").data.read(tmp_path, silent)
    assert [one.name for one in listing.splits["train"] if not one.labelled] == ["new/other.png"]


@pytest.mark.parametrize("count", [40, 39])
def test_only_some_images_are_opened(count: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every fourth from the first to the last, also where that is not quite ten times."""
    monkeypatch.setattr(survey, "LOOKED_AT", 10)
    write(folder / "tags.csv", [(f"{number}.png", ";".join(tags(number))) for number in range(count)])
    (folder / "1.png").write_bytes(b"not looked at")
    assert survey.survey(folder, {}).looked_at == 10
    assert not survey.survey(folder, {}).unreadable
    assert f" {count} used," in survey.survey(folder, {}).lines()[1]
    (folder / "36.png").write_bytes(b"looked at")
    found = survey.survey(folder, {})
    assert len(found.unreadable) == 1
    assert f" about {count - 4} used," in found.lines()[1]


def test_look_writes_nothing(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    assert "nothing was written" in told(capsys, folder, "--look")
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == before


def test_only_a_recipe_of_its_own_is_replaced(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, folder)
    written = Path("my-pets.yaml").read_text()
    Path("my-pets.yaml").write_text(written + "seed: 3\n")
    assert "expected no file yet, got my-pets.yaml; pass --force" in refused(capsys, folder)
    told(capsys, folder, "--force")
    assert Path("my-pets.yaml").read_text() == written
    Path("my-pets.yaml").write_text("mine")
    assert "expected a recipe of this command" in refused(capsys, folder, "--force")
    assert Path("my-pets.yaml").read_text() == "mine"
    assert "expected a name of letters, digits, - and _ that ends in .yaml" in refused(capsys, folder, "--out", "a.txt")


def test_nothing_is_written_into_the_folder(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert "expected a place outside ., into which nothing is written, got" in refused(capsys, Path())
    assert "pass --out ../" in refused(capsys, Path())
    told(capsys, Path(), "--out", "../pets.yaml")
    assert not list(folder.glob("*.yaml"))


def test_sub_folders_become_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "images", str(tmp_path / "mine.yaml")
    for number in range(12):
        image(folder / ("animals/cats" if number % 2 else "house; old|grey") / f"{number}.jpg", number)
    assert "labels from the names of the sub-folders" in told(capsys, folder, "--out", out)
    found = read(out, tmp_path).read_rows()
    assert found.labels == ("animals", "cats", "house; old|grey")
    assert {row.file: row.tags for row in found.rows}["animals/cats/1.jpg"] == ("animals", "cats")
    assert sum(row.tags == ("house; old|grey",) for row in found.rows) == 6
    assert not list(folder.glob("*.csv"))


def test_a_name_in_another_encoding_is_left_out_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(12):
        image(tmp_path / "set" / ("cat" if number % 2 else "dog") / f"{number}.png", number)
    (tmp_path / "set/cat/1.png").rename(os.fsdecode(os.fsencode(tmp_path / "set/cat") + b"/b\xe4r.png"))
    said = told(capsys, tmp_path / "set", "--out", str(tmp_path / "mine.yaml"))
    assert "warning: 1 rows without an image: 'cat/b\\udce4r.png'" in said
    assert len(read(str(tmp_path / "mine.yaml"), tmp_path).read_rows().rows) == 11


def test_folders_named_as_splits_are_splits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, split in enumerate(("train", "valid", "test") * 6):
        image(tmp_path / "set" / split / ("cat" if number % 2 else "dog") / f"{number}.png", number)
    said = told(capsys, tmp_path / "set", "--out", str(tmp_path / "mine.yaml"))
    assert "split: by sub-folders: train 6, val 6, test 6\n" in said
    assert read(str(tmp_path / "mine.yaml"), tmp_path).read_rows().labels == ("cat", "dog")


@pytest.mark.parametrize(
    ("name", "why"),
    [("{0:03d}", "numbers"), ("only", "one label"), ("label{1}", "one image a label"), ("images", "no label's name")],
)
def test_doubtful_sub_folders_are_a_question(
    name: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(12):
        image(tmp_path / "set" / name.format(number % 4, number) / f"{number}.png", number)
    said = refused(capsys, tmp_path / "set")
    assert "expected a table of tags, got none, and 12 images in" in said, why
    assert "pass --table FILE" in said
    assert not list(tmp_path.glob("*.yaml"))


@pytest.mark.parametrize("mark", [";", "|", ",", "/", " "])
def test_other_names_of_table_column_and_separator(
    mark: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "tags.csv").unlink()
    rows = [(mark.join(tag.replace(" ", "-") for tag in tags(number)), f"{number}") for number in range(COUNT)]
    write(folder / "list.csv", rows, ("Keywords", "which"))
    told(capsys, folder)
    data = read("my-pets.yaml", tmp_path)
    assert (data.table, data.file_column, data.separator) == ("list.csv", "which", mark)
    found = data.read_rows()
    assert found.labels == ("cat", "owl", "pet", "red-dog")
    assert {int(Path(row.file).stem): list(row.tags) for row in found.rows} == {
        number: [tag.replace(" ", "-") for tag in tags(number)] for number in range(COUNT)
    }


def test_names_of_several_words_are_not_taken_apart(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"{colour} {animal}" for colour in ("red", "grey", "white") for animal in ("cat", "dog", "owl")]
    write(folder / "tags.csv", [(f"{number}.png", names[number % 9]) for number in range(COUNT)])
    told(capsys, folder)
    assert read("my-pets.yaml", tmp_path).read_rows().labels == tuple(sorted(names))


def test_json_lines(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "tags.csv").unlink()
    lines = [json.dumps({"image": f"{number}.png", "tags": tags(number)}) for number in range(COUNT)]
    (folder / "some.jsonl").write_text("\n".join(lines))
    told(capsys, folder)
    assert read("my-pets.yaml", tmp_path).read_rows().labels[0] == "cat"


def test_of_several_tables_the_one_that_names_images_is_read(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "tags.csv").rename(folder / "a.csv")
    write(folder / "notes.csv", [("somebody", "somewhere")], ("who", "where"))
    said = told(capsys, folder)
    assert "table a.csv (form tags, column file" in said
    assert "not used: notes.csv: table, 1 rows, columns who, where" in said
    write(folder / "b.csv", [(f"{number}.png", "cat") for number in range(COUNT)])
    said = refused(capsys, folder, "--force")
    assert "expected one table of tags, got 2:\n    a.csv: table, 40 rows, columns file, tags\n" in said
    assert "pass --table a.csv, or another of them" in said
    told(capsys, folder, "--force", "--table", "a.csv")
    assert read("my-pets.yaml", tmp_path).table == "a.csv"


def test_a_table_elsewhere(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "tags.csv").rename(tmp_path / "mine.tsv")
    lines = (tmp_path / "mine.tsv").read_text().replace(",", "\t")
    (tmp_path / "mine.tsv").write_text(lines)
    told(capsys, folder, "--table", "mine.tsv")
    assert read("my-pets.yaml", tmp_path).table == str(tmp_path / "mine.tsv")


def test_images_in_folders_beside_the_table(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(COUNT):
        place = folder / f"images_{number % 3}"
        place.mkdir(exist_ok=True)
        (folder / f"{number}.png").rename(place / f"{number}.png")
    told(capsys, folder)
    data = read("my-pets.yaml", tmp_path)
    assert not data.read_rows().missing
    assert data.fingerprint()


def test_two_files_of_one_name_are_a_question_that_root_answers(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(COUNT):
        for place in ("full", "small"):
            image(folder / place / f"{number}.png", number)
        (folder / f"{number}.png").unlink()
    assert "got full/0.png, small/0.png; pass --suffix .png, or pass --root FOLDER" in refused(capsys, folder)
    told(capsys, folder, "--root", "full")
    data = read("my-pets.yaml", tmp_path)
    assert data.root == folder / "full"
    assert {Path(row.file).parent for row in data.read_rows().rows} == {Path()}


def test_symbolic_links_work(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Links to files and to folders, one in a circle, and one to nothing."""
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
    said = told(capsys, linked)
    assert "images: 39 found, 39 used, 1 missing" in said
    found = read("linked.yaml", tmp_path).read_rows()
    assert len(found.rows) == 39
    assert found.missing == {"39.png": f"missing file {linked / '39.png'} (a symbolic link to nothing)"}
    stages.pipeline(load_recipe("linked.yaml"), tmp_path / "runs").until("data").run()
    assert sum(len(read_split(tmp_path / "runs/data", split)) for split in ("train", "select", "tune", "test")) == 39


def test_links_to_nothing_are_no_images_and_no_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "set", str(tmp_path / "mine.yaml")
    for number in range(12):
        image(folder / ("cat" if number % 2 else "dog") / f"{number}.png", number)
    for name in ("cat/x.png", "tags.csv", "names.txt"):
        (folder / name).symlink_to(tmp_path / "nothing")
    said = told(capsys, folder, "--out", out)
    assert "images: 12 found, 12 used, 1 missing, 0 not in the table, 0 of 12 looked at" in said
    assert "not used: tags.csv: a symbolic link to nothing" in said
    found = read(out, tmp_path).read_rows()
    assert found.missing == {"cat/x.png": f"{folder}/cat/x.png: a symbolic link to nothing"}
    assert len(found.rows) == 12
    assert "expected a table, got none; pass --table FILE" in refused(capsys, folder, "--force", "--table", "tags.csv")


def test_splits_of_the_table_are_counted(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [(f"{number}.png", ";".join(tags(number)), "Train" if number % 4 else "Test") for number in range(COUNT)]
    write(folder / "tags.csv", rows, ("file", "tags", "subset"))
    said = told(capsys, folder)
    splits = load_recipe("my-pets.yaml").data.read(tmp_path, silent).splits
    assert f"split: by column subset: {_counts(splits)} (no val there)" in said
    assert {int(one.file.stem) for one in splits["test"]} == set(range(0, COUNT, 4))
    assert splits["val"]
    told(capsys, folder, "--force", "--split-column", "none")
    splits = load_recipe("my-pets.yaml").data.read(tmp_path, silent).splits
    assert {int(one.file.stem) for one in splits["test"]} != set(range(0, COUNT, 4))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "got only the names file, tags; add them, or pass --table FILE for another table"),
        (
            [(f"{number}.png", "") for number in range(COUNT)],
            "expected tags, got none in 40 images; pass --tags-column",
        ),
        (
            [(f"x{number}.png", "cat") for number in range(COUNT)],
            "got 0 images and 0 tags; 40 of its files are not below",
        ),
        (
            [(f"{number}.png", "images") for number in range(COUNT)],
            "got 'images' alone, on all of 40 images; pass --tags",
        ),
        (
            [(f"{number}.png", f"a;b{number % 2}") for number in range(COUNT)],
            "got 'a' on all of 40, .* --ignore-labels a",
        ),
        ([(f"{number}.png", f"tag{number}") for number in range(COUNT)], "got 40 labels for 40 images"),
        (
            [(f"{number}.png", f"tag{number // 2}") for number in range(COUNT)],
            "expected a label with at least 3 images, one each to learn from",
        ),
    ],
)
def test_nothing_that_cannot_be_learnt_gets_through(
    rows: list[tuple[str, str]], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder / "tags.csv", rows)
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(refused(capsys, folder))
    assert not list(Path().glob("*.yaml"))


def test_the_data_stage_refuses_nonsense_as_well(folder: Path) -> None:
    write(folder / "tags.csv", [(f"{number}.png", "images") for number in range(COUNT)])
    with pytest.raises(ValueError, match="got 'images' alone, on all of 40 images; set tags_column: NAME"):
        Folder(root=folder).fingerprint()  # `plan` asks for it, too


def test_a_folder_without_images(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "expected one with images, got nothing at " in refused(capsys, folder / "nowhere")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/a.txt").write_text("x")
    assert "expected images, got none; pass --root FOLDER" in refused(capsys, tmp_path / "empty")


def test_sizes_grow_with_the_number_of_images(folder: Path) -> None:
    found = survey.survey(folder, {})
    rows, costs = found.found.rows, []
    for scale in starting.SCALES:
        count = int(min(scale.images, 150_000))
        object.__setattr__(found.found, "rows", (rows * (count // COUNT + 1))[:count])
        assert starting.scale_of(found) == scale
        recipe = read_recipe(starting.recipe_text(found), Path("mine.yaml"))
        assert recipe.student.training.batch_size * 4 <= count
        costs.append((recipe.teacher.model.image_px, recipe.student.model.image_px, -recipe.student.training.epochs))
    assert costs == sorted(costs)


def test_every_key_of_the_data_section_reaches_the_recipe(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each option that differs from what would be guessed stands in the recipe, and is read back."""
    rows = [(f"{number}", " ; ".join(tags(number)).title(), "x", "train") for number in range(COUNT)]
    write(folder / "tags.csv", rows, ("key", "words", "odd", "part"))
    (folder / "names.txt").write_text("1 Cat\n")
    told(
        capsys, folder, "--form", "tags", "--file-column", "key", "--tags-column", "words", "--separator", " ; ",
        "--suffix", ".png", "--root", ".", "--ignore-columns", "odd", "--ignore-labels", "Owl",
        "--split-column", "none",
        "--negative-values=-1,", "--merge-labels", "--merge-rows", "--skip-bad-rows", "--label-names", "none",
        "--labels-from", "table", "--table", "tags.csv",
    )  # fmt: skip
    data = read("my-pets.yaml", tmp_path)
    assert data == Folder(
        root=folder, form="tags", file_column="key", tags_column="words", separator=" ; ", suffix=".png",
        ignore_columns=("odd",), ignore_labels=("Owl",), split_column=None, negative_values=("-1", ""),
        merge_labels=True, merge_rows=True, skip_bad_rows=True,
    )  # fmt: skip
    assert data.read_rows().labels == ("Cat", "Pet", "Red Dog")
