import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlkd.data import Folder, prepare, read_split
from mlkd.progress import silent

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


def test_table_read_and_carved(root: Path) -> None:
    listing = Folder(root=root).read(root, silent)
    assert listing.labels.names == ("cat", "owl", "red dog")
    counts = {split: len(pictures) for split, pictures in listing.splits.items()}
    assert sum(counts.values()) == COUNT
    assert counts["train"] > counts["test"] > counts["val"] > 0
    for pictures in listing.splits.values():
        for picture in pictures:
            number = int(picture.file.stem)
            assert [listing.labels.names[label] for label in picture.positives] == sorted(tags_of(number))


def test_splits_stay_when_pictures_are_added(root: Path) -> None:
    before = Folder(root=root).read(root, silent).splits
    lines = (root / "tags.csv").read_text().splitlines()
    write(root, lines[0], *lines[:0:-1][:40])
    after = Folder(root=root).read(root, silent).splits
    for split, pictures in after.items():
        assert {picture.name for picture in pictures} <= {picture.name for picture in before[split]}


def test_split_column_and_json_lines(root: Path) -> None:
    rows = [
        {"file": f"sub/{number}.png", "tags": tags_of(number), "split": ("train", "val", "test")[number % 3]}
        for number in range(30)
    ]
    (root / "tags.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    listing = Folder(root=root, tags="tags.jsonl").read(root, silent)
    assert [len(listing.splits[split]) for split in ("train", "val", "test")] == [10, 10, 10]
    write(root, "file,tags,split", "sub/1.png,cat|owl,val", "sub/2.png,,")
    listing = Folder(root=root, delimiter="|").read(root, silent)
    assert listing.splits["val"][0].positives == (0, 1)
    assert [picture.positives for pictures in listing.splits.values() for picture in pictures].count(()) == 1


def test_prepared_with_a_missing_and_a_broken_file(root: Path) -> None:
    (root / "sub/7.png").unlink()
    (root / "sub/9.png").write_bytes((root / "sub/9.png").read_bytes()[:100])
    prepare(Folder(root=root), root / "out", (16,))
    assert set(json.loads((root / "out/skipped.json").read_text())) == {"sub/7.png", "sub/9.png"}
    train = read_split(root / "out", "train")
    assert train.files[0].is_file()
    assert train.files[0].is_absolute()
    assert train.major is None


def test_fingerprint_sees_table_and_pictures(root: Path) -> None:
    before = Folder(root=root).fingerprint()
    (root / "sub/3.png").write_bytes(b"123")
    changed = Folder(root=root).fingerprint()
    assert changed != before
    write(root, *(root / "tags.csv").read_text().splitlines()[:-1])
    assert Folder(root=root).fingerprint() != changed


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["name,tags", "a.png,cat"], r"tags.csv, line 1: expected columns file,tags, got name,tags"),
        ([], "line 1: expected columns file,tags, got nothing"),
        (["file,tags"], "expected at least one picture, got 0"),
        (["file,tags", "sub/1.png,cat;;owl"], r"line 2: expected tags that are not empty, got \['cat', '', 'owl'\]"),
        (["file,tags", "sub/1.png,cat", ",cat"], "line 3: expected a file name, got an empty one"),
        (["file,tags", "../1.png,cat"], r"line 2: expected a file below .*, got '../1.png'"),
        (["file,tags", "sub/1.png,cat", "sub/1.png,owl"], "expected every file once, got 'sub/1.png' 2 times"),
        (["file,tags,split", "sub/1.png,cat,dev"], "line 2: expected split train, val or test, got 'dev'"),
        (["file,tags", "sub/1.png,owl", "sub/2.png,cta"], "line 3: label: expected one of 2 .* got 'cta'; .* cat"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(lines: list[str], message: str, root: Path) -> None:
    write(root, *lines)
    with pytest.raises(ValueError, match=message):
        Folder(root=root, labels=("cat", "owl")).read(root, silent)


@pytest.mark.parametrize("line", ['{"file": "a.png"', '["a.png"]', '{"file": "a.png", "tags": "cat"}', '{"tags": []}'])
def test_wrong_json_lines_are_refused_with_their_line(line: str, root: Path) -> None:
    (root / "tags.jsonl").write_text('{"file": "sub/1.png", "tags": ["cat"]}\n' + line)
    with pytest.raises(ValueError, match=r"tags.jsonl, line 2: expected "):
        Folder(root=root, tags="tags.jsonl").read(root, silent)


def test_what_is_missing_is_named(root: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a folder with a table .*nowhere"):
        Folder(root=root / "nowhere").read(root, silent)
    with pytest.raises(ValueError, match=r"tags: expected a name ending in .csv or .jsonl, got 'tags.xls'"):
        Folder(root=root, tags="tags.xls")
    with pytest.raises(ValueError, match="delimiter: expected one character"):
        Folder(root=root, delimiter=",")
    assert not Folder(root=root).needs_fetch()
