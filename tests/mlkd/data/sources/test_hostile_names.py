"""Names that attack what reads them arrive as they were written, or are refused where they are read."""

import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mlkd.core.printable import is_utf8
from mlkd.core.progress import silent
from mlkd.data import Coco, Folder, Shards
from mlkd.data.base import ImageSource
from mlkd.data.preparation import prepare
from mlkd.data.prepared import read_split
from mlkd.data.shards.tar_files import write_shard
from mlkd.data.shards.write import write_shards
from mlkd.data.sources.coco_layout import CocoPart
from tests.helpers import hostile, layouts, tagged_folder

COUNT = 60
Write = Callable[[Path, Sequence[str]], ImageSource]


def tags_of(number: int, names: Sequence[str]) -> list[str]:
    """Five names of an image; every image has others, and every name is on some images."""
    return [names[(number * 3 + step * step) % len(names)] for step in range(5)]


def draw(root: Path) -> None:
    if not (root / "0.png").exists():
        tagged_folder.draw(root, COUNT)


def write_coco(
    root: Path, files: Sequence[str], labels: Sequence[str], pairs: Sequence[tuple[int, int]]
) -> ImageSource:
    """Pairs are positions of a file and a label."""
    tree = {
        "categories": [{"id": number, "name": name} for number, name in enumerate(labels)],
        "images": [{"id": number, "file_name": name} for number, name in enumerate(files)],
        "annotations": [{"id": at, "image_id": image, "category_id": label} for at, (image, label) in enumerate(pairs)],
    }
    (root / "a.json").write_text(json.dumps(tree))
    return Coco(root=root, train=CocoPart(annotations="a.json"))


def coco(root: Path, names: Sequence[str]) -> ImageSource:
    draw(root)
    pairs = [(number, names.index(name)) for number in range(COUNT) for name in tags_of(number, names)]
    return write_coco(root, [f"{number}.png" for number in range(COUNT)], names, pairs)


def json_lines(root: Path, names: Sequence[str]) -> ImageSource:
    rows = [json.dumps({"file": f"{number}.png", "tags": tags_of(number, names)}) for number in range(COUNT)]
    (root / "tags.jsonl").write_text("\n".join(rows))
    draw(root)
    return Folder(root=root, table="tags.jsonl", labels=tuple(names))


def columns(root: Path, names: Sequence[str]) -> ImageSource:
    header = ["file", *(f"tag{number}" for number in range(5))]
    tagged_folder.write_table(root / "tags.csv", [[f"{n}.png", *tags_of(n, names)] for n in range(COUNT)], header)
    draw(root)
    return Folder(root=root, form="columns", labels=tuple(names))


def one_hot(root: Path, names: Sequence[str]) -> ImageSource:
    rows = [[f"{n}.png", *(int(name in tags_of(n, names)) for name in names)] for n in range(COUNT)]
    tagged_folder.write_table(root / "tags.csv", rows, ["file", *names])
    draw(root)
    return Folder(root=root, form="one_hot")


def shards(root: Path, names: Sequence[str]) -> ImageSource:
    draw(root)
    for split, numbers in {"train": range(40), "val": range(40, 50), "test": range(50, 60)}.items():
        (root / split).mkdir(exist_ok=True)
        tags = {n: [name for name in tags_of(n, names) if is_utf8(name)] for n in numbers}
        samples = [(".png", (root / f"{n}.png").read_bytes(), {"name": f"{n}", "labels": tags[n]}) for n in numbers]
        write_shard(root / split / "0.tar", samples)
    (root / "dataset.json").write_text(json.dumps({"labels": list(names)}))
    return Shards(root=root, streams=1)


SOURCES: tuple[Write, ...] = (coco, json_lines, columns, one_hot, shards)


@pytest.mark.parametrize("write", SOURCES)
def test_labels_arrive_from_every_source(write: Write, tmp_path: Path) -> None:
    names = tuple(hostile.NAMES.values())
    (tmp_path / "in").mkdir()
    prepare(write(tmp_path / "in", names), tmp_path / "out", [16])
    for part in ("train", "test"):
        split = read_split(tmp_path / "out", part)
        assert split.labels.names == names
        for name, row in zip(split.names, split.targets, strict=True):
            assert {names[at] for at in row.nonzero()[0]} == set(tags_of(int(re.findall(r"\d+", name)[-1]), names))


@pytest.mark.parametrize("write", SOURCES)
def test_labels_that_cannot_arrive_are_refused(write: Write, tmp_path: Path) -> None:
    for kind, (name, reason) in hostile.REFUSED.items():
        names = ("cat", name, "owl", "dog", "bee", "cow", "bat")
        if write in (columns, one_hot) and kind in ("surrogate", "newline"):  # no such file; a header may be wrapped
            continue
        with pytest.raises(
            ValueError, match=re.escape(reason) + ".* in |lone surrogate in |a list of names, got .*udcff"
        ) as raised:
            write(tmp_path, names).read(tmp_path, silent)
        assert ascii(name)[1:20] in ascii(str(raised.value)).replace("\\\\", "\\")


def by_folders(root: Path, names: Sequence[str]) -> ImageSource:
    for number in range(COUNT):
        layouts.draw(root / names[number % len(names)] / f"{number}.png", number)
    return Folder(root=root, labels_from="folders")


def test_labels_arrive_from_names_of_folders(tmp_path: Path) -> None:
    names = [name for name in hostile.NAMES.values() if "/" not in name and len(name.encode()) < 256]  # as folders
    prepare(by_folders(tmp_path / "in", names), tmp_path / "out", [16])
    assert set(read_split(tmp_path / "out", "train").labels.names) == set(names)


def images_of(root: Path, kind: str) -> ImageSource:
    """Images with hostile names, of which two thirds are of a cat and every second one of a dog."""
    names = [os.fsdecode(name) for name in hostile.FILES]
    tags = [[tag for tag, has in (("cat", at % 3), ("dog", at % 2)) if has] for at in range(len(names))]
    for at, name in enumerate(names):
        folder = root / (("cat" if at % 2 else "dog") if kind == "folders" else "")
        layouts.draw(folder / name, at)
    if kind == "coco":
        ids = {"cat": 0, "dog": 1}
        pairs = [(at, ids[tag]) for at, some in enumerate(tags) for tag in some]
        return write_coco(root, names, list(ids), pairs)
    if kind == "json lines":
        rows = [json.dumps({"file": name, "tags": some}) for name, some in zip(names, tags, strict=True)]
        (root / "tags.jsonl").write_text("\n".join(rows))
        return Folder(root=root, table="tags.jsonl")
    if kind == "table":
        tagged_folder.write_table(root / "tags.csv", [[n, ";".join(some)] for n, some in zip(names, tags, strict=True)])
        return Folder(root=root)
    return Folder(root=root, labels_from="folders")


@pytest.mark.parametrize(
    ("kind", "lost"),  # COCO files of Windows have backslashes between folders; cells are read without spaces around
    [("coco", {b"a\\b.png"}), ("json lines", set()), ("table", {b" outer .png", b"\t=1.png"}), ("folders", set())],
)
def test_images_are_found_or_said_to_be_missing(kind: str, lost: set[bytes], tmp_path: Path) -> None:
    listing = images_of(tmp_path, kind).read(tmp_path, silent)
    found = {os.fsencode(sample.file.name) for some in listing.splits.values() for sample in some}
    assert set(hostile.FILES) - found == lost
    assert len(listing.skipped) == len(lost)


def test_images_with_any_name_go_through_shards(tmp_path: Path) -> None:
    """Also those whose suffix is none of an image."""
    names = [f"{at}{os.fsdecode(name)}"[-120:] for at, name in enumerate(hostile.FILES)] + ["none", f"x.{'y' * 200}"]
    names += [f"{at}.png" for at in range(40)]
    for at, name in enumerate(names):
        layouts.draw(tmp_path / "in/a.png", at)
        (tmp_path / "in/a.png").rename(tmp_path / "in" / name)
    rows = [{"file": name, "tags": [t for t, n in (("cat", 2), ("dog", 3)) if at % n]} for at, name in enumerate(names)]
    (tmp_path / "in/tags.jsonl").write_text("\n".join(map(json.dumps, rows)))
    prepare(Folder(root=tmp_path / "in", table="tags.jsonl"), tmp_path / "data", [16])
    write_shards(tmp_path / "data", tmp_path / "shards", images=20, seed=0)
    listing = Shards(root=tmp_path / "shards", streams=1).read(tmp_path / "work", silent)
    assert {sample.name for some in listing.splits.values() for sample in some} == set(names)


@pytest.mark.parametrize("where", ["root", "unlabelled"])
def test_names_of_other_bytes_are_refused_before_anything_is_decoded(where: str, tmp_path: Path) -> None:
    root = tmp_path / (os.fsdecode(b"\xff") if where == "root" else "in")
    root.mkdir()
    columns(root, ("cat", "dog", "owl", "bee", "cow", "bat", "ant"))
    if where == "unlabelled":
        layouts.draw(root / "more" / os.fsdecode(b"\xff.png"), 9)
    source = Folder(root=root, form="columns", unlabelled="more" if where == "unlabelled" else None)
    with pytest.raises(ValueError, match=r"udcff.*png: expected names of images and folders in UTF-8") as raised:
        prepare(source, tmp_path / "out", [16])
    assert str(raised.value).isprintable()
    assert list((tmp_path / "out").iterdir()) == []
