"""Corrections of a finished recipe's images, and new images of the same tables."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from mlkd.core.progress import silent
from mlkd.data import Corrected, Folder
from mlkd.data.base import Listing, Sample
from mlkd.data.preparation import prepare
from mlkd.data.prepared import SPLITS, read_split
from tests.helpers import layouts
from tests.helpers.once import Once

LABELS = layouts.TAGS  # cat, owl, red dog; not in alphabetical order with new ones
COUNT = 60


@pytest.fixture(scope="session")
def finished(once: Once) -> Path:
    """images/*.png with tags.csv, and data/, the prepared set of a recipe."""

    def make(root: Path) -> None:
        layouts.folder(root, "tags", COUNT)
        prepare(Folder(root=root), root / "data", [32])

    return once("finished set", make)


@pytest.fixture
def base(finished: Path) -> Path:
    return finished / "data"


def names_in(base: Path, split: str) -> list[Path]:
    return list(read_split(base, split).files)


def write(folder: Path, *rows: tuple[object, str, str], name: str = "corrected.csv") -> Path:
    lines = [
        "image,tags,scores,error,doubtful,verdict",
        *(f"{file},{tags},,,,{verdict}" for file, tags, verdict in rows),
    ]
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / name


def read(base: Path, *tables: Path, new: tuple[str, ...] = (), root: Path | None = None, skip: bool = False) -> Listing:
    source = Corrected(base=base, tables=tables, new_labels=new, root=root, skip_bad_rows=skip)
    return source.read(base, silent)


def decisions(sample: Sample, listing: Listing) -> dict[str, bool | None]:
    names = listing.labels.names
    unknown = set(sample.unknown) if sample.labelled else set(range(len(names)))
    return {name: None if i in unknown else i in sample.positives for i, name in enumerate(names)}


def found(listing: Listing, file: Path) -> tuple[str, dict[str, bool | None]]:
    ((split, sample),) = (
        (split, sample) for split, part in listing.splits.items() for sample in part if sample.file == file
    )
    return split, decisions(sample, listing)


def test_without_tables_the_set_is_that_of_the_recipe(base: Path, tmp_path: Path) -> None:
    prepare(Corrected(base=base), tmp_path / "again", [32])
    for split in SPLITS:
        before, after = read_split(base, split), read_split(tmp_path / "again", split)
        assert after.names == before.names
        assert after.labels.names == before.labels.names == LABELS
        assert np.array_equal(after.targets, before.targets)
        assert after.label_mask is before.label_mask is None
        assert np.array_equal(after.pixels(32), before.pixels(32))


def test_a_correction_wins_and_the_image_keeps_its_split(base: Path, tmp_path: Path) -> None:
    files = {split: names_in(base, split) for split in ("train", "tune", "test")}
    rows = [(part[0], "cat;?owl", "ok") for part in files.values()]
    listing = read(base, write(tmp_path, *rows, (files["train"][1], "", "ok"), (files["train"][2], "owl", "")))
    for split, part in files.items():
        in_split, labels = found(listing, part[0])
        assert in_split == {"tune": "val"}.get(split, split)
        assert labels == {"cat": True, "owl": None, "red dog": False}
    assert found(listing, files["train"][1])[1] == dict.fromkeys(LABELS, False)
    untouched = read_split(base, "train").positives[2].tolist()
    assert list(found(listing, files["train"][2])[1].values()) == untouched
    (note,) = listing.findings
    assert note.note
    assert re.search(r"images of train 2, val 1, test 1, .* up to 0 new images; 1 rows without a verdict", note.numbers)


def test_partial_decides_on_what_it_lists_only(base: Path, tmp_path: Path) -> None:
    row, file = 3, names_in(base, "train")[3]
    before = dict(zip(LABELS, map(bool, read_split(base, "train").targets[row]), strict=True))
    listing = read(base, write(tmp_path, (file, "owl;!cat", "partial")))
    assert found(listing, file)[1] == {**before, "owl": True, "cat": False}


def test_the_last_table_wins(base: Path, tmp_path: Path) -> None:
    file = names_in(base, "train")[0]
    first = write(tmp_path, (file, "cat;owl", "ok"), name="1.csv")
    second = write(tmp_path, (file, "!cat", "partial"), name="2.csv")
    assert found(read(base, first, second), file)[1] == {"cat": False, "owl": True, "red dog": False}
    assert found(read(base, second, first), file)[1] == {"cat": True, "owl": True, "red dog": False}


def test_a_copy_in_another_folder_is_the_same_image(base: Path, tmp_path: Path) -> None:
    file = names_in(base, "test")[0]
    shutil.copy(file, tmp_path / "upload.png")
    listing = read(base, write(tmp_path, ("upload.png", "owl", "ok")))
    assert found(listing, file) == ("test", {"cat": False, "owl": True, "red dog": False})
    assert sum(map(len, listing.splits.values())) == sum(len(names_in(base, split)) for split in SPLITS)


def test_new_images_are_never_tested(base: Path, tmp_path: Path) -> None:
    rows = []
    for number in range(100, 200):
        layouts.draw(tmp_path / f"new/{number}.png", number)
        rows.append((f"{number}.png", ";".join(LABELS[label] for label in layouts.labels_of(number)), "ok"))
    listing = read(base, write(tmp_path, *rows), root=tmp_path / "new")
    assert [sample.file for sample in listing.splits["test"]] == names_in(base, "test")
    new = {split: [s.name for s in part if s.movable] for split, part in listing.splits.items()}
    assert 4 <= len(new["val"]) <= 20
    assert len(new["train"]) + len(new["val"]) == 100
    (tmp_path / "moved").mkdir()
    for number in range(100, 150):
        shutil.move(tmp_path / f"new/{number}.png", tmp_path / "moved")
    fewer = read(base, write(tmp_path, *rows[:50]), root=tmp_path / "moved")
    kept = {Path(sample.name).name for sample in fewer.splits["val"] if sample.movable}
    assert kept == {Path(name).name for name in new["val"]} & {f"{number}.png" for number in range(100, 150)}


def test_a_new_label_is_unknown_where_nobody_decided(base: Path, tmp_path: Path) -> None:
    old, other = names_in(base, "train")[:2]
    rows = []
    for number in range(100, 112):
        layouts.draw(tmp_path / f"{number}.png", number)
        rows.append((f"{number}.png", "bee", "partial"))
    named = write(tmp_path, *rows, (old, "cat", "ok"), name="1.csv")
    unaware = write(tmp_path, (other, "owl", "ok"), name="2.csv")
    listing = read(base, named, unaware, new=("bee",))
    assert listing.labels.names == (*LABELS, "bee")
    assert found(listing, old)[1] == {"cat": True, "owl": False, "red dog": False, "bee": False}
    assert found(listing, other)[1] == {"cat": False, "owl": True, "red dog": False, "bee": None}
    assert found(listing, tmp_path / "100.png")[1] == {"cat": None, "owl": None, "red dog": None, "bee": True}
    assert all(decisions(sample, listing)["bee"] is None for sample in listing.splits["test"])
    assert {split for split, part in listing.splits.items() for sample in part if 3 in sample.positives} == {
        "train",
        "val",
    }


def test_a_new_label_without_negatives_is_reported(base: Path, tmp_path: Path) -> None:
    layouts.draw(tmp_path / "new.png", 100)
    table = write(tmp_path, ("new.png", "bee", "partial"))
    (claim,) = (item.claim for item in read(base, table, new=("bee",)).findings if not item.note)
    assert claim.startswith("Some new labels are absent from no training image")


def test_a_new_label_on_test_images_only_is_reported(base: Path, tmp_path: Path) -> None:
    table = write(tmp_path, (names_in(base, "test")[0], "bee", "ok"))
    (claim,) = (item.claim for item in read(base, table, new=("bee",)).findings if not item.note)
    assert claim == "Some new labels are on no training image, so no model learns them."


def test_an_unknown_label_names_the_nearest(base: Path, tmp_path: Path) -> None:
    table = write(tmp_path, (names_in(base, "train")[0], "rad dog", "ok"), (names_in(base, "train")[1], "cat", "ok"))
    with pytest.raises(
        ValueError, match=r"corrected.csv, line 2: .*got 'rad dog'; did you mean red dog\?.*in new_labels"
    ):
        read(base, table)
    other = write(tmp_path, (names_in(base, "train")[0], "bee", "ok"), name="other.csv")
    with pytest.raises(ValueError, match=r"got 'bee'; they are cat, owl, red dog\. If it is a new label, declare it"):
        read(base, other)
    listing = read(base, table, skip=True)
    assert "1 bad rows left out" in listing.findings[0].numbers
    assert found(read(base, table, new=("rad dog",)), names_in(base, "train")[0])[1]["rad dog"] is True


def test_first_letters_that_a_spreadsheet_wrote_large(base: Path, tmp_path: Path) -> None:
    file = names_in(base, "train")[0]
    assert found(read(base, write(tmp_path, (file, "Cat;RED dog", "ok"))), file)[1] == {
        "cat": True,
        "owl": False,
        "red dog": True,
    }


def test_two_spellings_of_a_label_do_not_contradict_each_other(base: Path, tmp_path: Path) -> None:
    file = names_in(base, "train")[0]
    for tags in ("Cat;!cat", "Cat;?cat", "!Cat;?cat"):
        with pytest.raises(ValueError, match=r"line 2: expected each label once as .*, got [!]?Cat;"):
            read(base, write(tmp_path, (file, tags, "ok")))
    assert found(read(base, write(tmp_path, (file, "Cat;cat", "ok"))), file)[1]["cat"] is True


def test_faults_are_named(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"line 2: expected an image at .*/gone.png, got none; set root: FOLDER"):
        read(base, write(tmp_path, ("gone.png", "cat", "ok")))
    file = names_in(base, "train")[0]
    with pytest.raises(ValueError, match=r"line 3: expected every image once, got .* again with other tags or verdict"):
        read(base, write(tmp_path, (file, "cat", "ok"), (file, "owl", "ok")))
    (tmp_path / "plain.csv").write_text("file,tags\na.png,cat\n")
    with pytest.raises(
        ValueError, match="line 1: expected the columns image, tags and verdict, got file,tags; write ok"
    ):
        read(base, tmp_path / "plain.csv")
    with pytest.raises(ValueError, match="tables: expected a file, got nothing"):
        read(base, tmp_path / "none.csv")
    with pytest.raises(ValueError, match="base: expected the result of a stage data, got no"):
        read(tmp_path)
    with pytest.raises(ValueError, match=r"new_labels: expected labels that .* lacks, got owl"):
        read(base, new=("owl",))
    for new, known in ((("OWL",), "owl"), (("red  Dog",), "red dog"), (("bee", "Bee"), "bee")):
        with pytest.raises(ValueError, match=rf"new_labels: .* lacks, got {new[-1]}, which is {known}; remove it"):
            read(base, new=new)


@pytest.mark.parametrize("tags", ["cat", "!bee", "?bee"])
def test_a_new_label_of_no_image_is_refused(base: Path, tmp_path: Path, tags: str) -> None:
    table = write(tmp_path, (names_in(base, "train")[0], tags, "ok"), (names_in(base, "train")[1], "bee", ""))
    with pytest.raises(ValueError, match=r"new_labels: expected labels that a row with a verdict has .*, got bee; add"):
        read(base, table, new=("bee",))


def test_a_lost_image_of_the_recipe_is_an_error(finished: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(finished, tmp_path / "copied"))
    prepare(Folder(root=copied), copied / "data", [32])
    names_in(copied / "data", "test")[0].unlink()
    with pytest.raises(ValueError, match=r"base: expected every image of .*, got nothing at .*; restore it"):
        read(copied / "data")


def test_the_fingerprint_follows_tables_and_images(base: Path, tmp_path: Path) -> None:
    layouts.draw(tmp_path / "new.png", 100)
    source = Corrected(base=base, tables=(write(tmp_path, ("new.png", "cat", "ok")),))
    first = source.fingerprint()
    assert source.fingerprint() == first
    layouts.draw(tmp_path / "new.png", 7)
    second = source.fingerprint()
    write(tmp_path, ("new.png", "owl", "ok"))
    assert len({first, second, source.fingerprint()}) == 3
