import json
import os
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from mlkd.core.progress import silent
from mlkd.data import Folder
from mlkd.data.preparation import prepare
from mlkd.data.prepared import SPLITS, read_split
from tests.helpers import layouts

COUNT = 60


def tags_of(number: int) -> list[str]:
    return [tag for divisor, tag in ((2, "cat"), (3, "red dog"), (5, "owl")) if number % divisor == 0]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    lines = ["file,tags"]
    for number in range(COUNT):
        noise = np.random.default_rng(number).integers(0, 255, (18, 24, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "sub" / f"{number}.png")
        lines.append(f"sub/{number}.png,{'; '.join(tags_of(number))}")
    (tmp_path / "tags.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def write(root: Path, *lines: str) -> None:
    (root / "tags.csv").write_text("\n".join(lines) + "\n")


def test_a_table_without_splits_is_split(root: Path) -> None:
    listing = Folder(root=root).read(root, silent)
    assert listing.labels.names == ("cat", "owl", "red dog")
    counts = {split: len(samples) for split, samples in listing.splits.items()}
    assert sum(counts.values()) == COUNT
    assert counts["train"] > counts["test"] > counts["val"] > 0
    for samples in listing.splits.values():
        for sample in samples:
            number = int(sample.file.stem)
            assert [listing.labels.names[label] for label in sample.positives] == sorted(tags_of(number))


def test_split_column_and_json_lines(root: Path) -> None:
    rows = [
        {"file": f"sub/{number}.png", "tags": tags_of(number), "split": ("train", "val", "test")[number % 3]}
        for number in range(30)
    ]
    (root / "tags.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    listing = Folder(root=root, table="tags.jsonl").read(root, silent)
    assert [len(listing.splits[split]) for split in ("train", "val", "test")] == [10, 10, 10]
    write(root, "file,tags,split", "sub/1.png,cat|owl,val", "sub/2.png,,", "sub/3.png,cat,test")
    listing = Folder(root=root, separator="|").read(root, silent)
    assert listing.splits["val"][0].positives == (0, 1)
    assert [sample.positives for samples in listing.splits.values() for sample in samples].count(()) == 1


def test_fingerprint_depends_on_table_and_images(root: Path) -> None:
    before = Folder(root=root).fingerprint()
    (root / "sub/3.png").write_bytes(b"123")
    changed = Folder(root=root).fingerprint()
    (root / "sub/3.png").write_bytes(b"321")
    os.utime(root / "sub/3.png", ns=(1, 1))
    replaced = Folder(root=root).fingerprint()
    assert len({before, changed, replaced}) == 3
    write(root, *(root / "tags.csv").read_text().splitlines()[:-1])
    assert Folder(root=root).fingerprint() != replaced


@pytest.mark.parametrize("form", layouts.FORMS)
def test_every_form_gives_the_same_set(form: Literal["tags", "columns", "one_hot", "jsonl"], tmp_path: Path) -> None:
    source = Folder(root=layouts.folder(tmp_path, form), table="tags.jsonl" if form == "jsonl" else "tags.csv")
    listing = source.read(tmp_path, silent)
    assert listing.labels.names == layouts.TAGS
    samples = [sample for samples in listing.splits.values() for sample in samples]
    assert len(samples) == 20
    for sample in samples:
        assert (list(sample.positives), sample.unknown) == (layouts.labels_of(int(sample.file.stem)), ())


def test_unknown_labels_and_unlabelled_images(tmp_path: Path) -> None:
    root = layouts.folder(tmp_path, "one_hot")
    lines = (root / "tags.csv").read_text().splitlines()
    write(root, lines[0], "images/0.png,?,1,-1", *lines[2:])
    for number in (30, 31):
        layouts.draw(root / f"more/sub/{number}.PNG", number)
    (root / "more/notes.txt").write_text("no image")
    source = Folder(root=root, unlabelled="more")
    splits = source.read(root, silent).splits
    first = next(sample for samples in splits.values() for sample in samples if sample.name == "images/0.png")
    assert (first.positives, first.unknown, first.labelled) == ((1,), (0, 2), True)
    without = [sample for sample in splits["train"] if not sample.labelled]
    assert [sample.name for sample in without] == ["more/sub/30.PNG", "more/sub/31.PNG"]
    assert all(sample.labelled for split in ("val", "test") for sample in splits[split])
    prepare(source, root / "out", (16,))
    train = read_split(root / "out", "train")
    assert train.label_mask is not None
    assert not train.label_mask[-2:].any()
    assert not train.targets[~train.label_mask].any()
    about = json.loads((root / "out/about.json").read_text())
    assert about["unlabelled"] == {"train": 2, "select": 0, "tune": 0, "test": 0}
    assert sum(about["unknown"][split]["cat"] for split in SPLITS) == 3
    assert sum(about["unknown"][split]["owl"] for split in SPLITS) == 2


def test_unlabelled_images_in_the_same_folder_or_another(tmp_path: Path) -> None:
    root = layouts.folder(tmp_path / "a", "tags")
    layouts.draw(root / "images/40.png", 40)
    train = Folder(root=root, unlabelled=".").read(root, silent).splits["train"]
    assert [sample.name for sample in train if not sample.labelled] == ["images/40.png"]
    layouts.draw(tmp_path / "b/41.jpg", 41)
    source = Folder(root=root, unlabelled=str(tmp_path / "b"))
    before = source.fingerprint()
    assert [sample.file for sample in source.read(root, silent).splits["train"] if not sample.labelled] == [
        tmp_path / "b/41.jpg"
    ]
    layouts.draw(tmp_path / "b/42.jpg", 42)
    assert source.fingerprint() != before
    with pytest.raises(ValueError, match=r"unlabelled: expected a folder with images, got nothing at .*none"):
        Folder(root=root, unlabelled="none").read(root, silent)


def test_an_unlabelled_copy_of_a_test_image_is_a_leak(tmp_path: Path) -> None:
    root = layouts.folder(tmp_path, "tags")
    held_out = Folder(root=root).read(root, silent).splits["test"][0]
    (root / "more").mkdir()
    (root / "more/copy.png").write_bytes(held_out.file.read_bytes())
    with pytest.raises(ValueError, match=r"the same content in train \(more/copy.png\) and test"):
        prepare(Folder(root=root, unlabelled="more"), root / "out", (16,))


def test_equal_files_are_in_one_split(root: Path) -> None:
    lines = (root / "tags.csv").read_text().splitlines()
    for number in range(COUNT):
        (root / f"sub/copy{number}.png").write_bytes((root / f"sub/{number}.png").read_bytes())
    write(root, *lines, *(line.replace("sub/", "sub/copy") for line in lines[1:]))
    owner = {}
    for split, samples in Folder(root=root).read(root, silent).splits.items():
        for sample in samples:
            assert owner.setdefault(sample.file.stem.removeprefix("copy"), split) == split
    assert len(owner) == COUNT


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["name,tags", "a.png,cat"], r"tags.csv, line 1: expected a column file, got name,tags; .* file_column"),
        (["file,tags", "sub/1.png,cat", ",cat"], "line 3: expected a file name, got an empty one"),
        (["file,tags", "../1.png,cat"], r"line 2: expected a file below .*, got '../1.png'"),
        (["file,tags", "sub/1.png,cat", "sub/1.png,owl"], r"got 1 files .* 'sub/1.png' in lines 2, 3; set merge_r"),
        (
            ["file,tags,split", "sub/1.png,cat,x", "sub/2.png,,"],
            "line 2: expected split train, val or test, got 'x'; set",
        ),
        (["file,tags", "sub/1.png,owl", "sub/2.png,cta"], "line 3: label: expected one of 2 .* got 'cta'; .* cat"),
    ],
)
def test_errors_name_the_line_of_the_table(lines: list[str], message: str, root: Path) -> None:
    write(root, *lines)
    with pytest.raises(ValueError, match=message):
        Folder(root=root, labels=("cat", "owl")).read(root, silent)


def test_errors_name_a_missing_root_or_a_bad_option(root: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a folder with images, got nothing at .*nowhere; set root: FOLDER"):
        Folder(root=root / "nowhere").read(root, silent)
    with pytest.raises(
        ValueError, match=r"table: expected a name ending in .csv, .tsv, .jsonl, got 'tags.xls'; save it"
    ):
        Folder(root=root, table="tags.xls")
    with pytest.raises(ValueError, match="separator: expected characters other than a quote"):
        Folder(root=root, separator='"')
    assert not Folder(root=root).needs_fetch()
