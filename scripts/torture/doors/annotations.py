"""Annotation files of other people: each source is read and prepared as the data stage does."""

from __future__ import annotations

import contextlib
import functools
import io
import tarfile
from pathlib import Path

from mlkd.core.labels import Labels
from mlkd.core.progress import silent
from mlkd.data.base import ImageSource
from mlkd.data.preparation import prepare
from mlkd.data.shards.tar_files import write_shard
from mlkd.data.sources.coco import Coco
from mlkd.data.sources.corrections import read_corrections
from mlkd.data.sources.folder import Folder
from mlkd.data.sources.label_names import read_names
from mlkd.data.sources.nuswide import NusWide
from mlkd.data.sources.shards import Shards
from mlkd.data.sources.voc import Voc
from scripts.torture.doors.door import is_chosen, lasting, unwatched
from scripts.torture.doors.parts import write_parts
from tests.helpers import layouts

PX = 8
COUNT = 12


@functools.cache
def images() -> Path:
    """A folder with 0.png to 11.png, which lasts as long as the process."""
    with unwatched():
        folder = lasting()
        for number in range(COUNT):
            for kind in ("png", "jpg"):
                layouts.draw(folder / f"{number}.{kind}", number)
        return folder


def _prepare(source: ImageSource, content: bytes, folder: Path) -> None:
    """Read the source; every eighth is prepared as well."""
    source.fingerprint()
    (folder / "out").mkdir()
    if is_chosen(content, 8):
        prepare(source, folder / "out", (PX,))
    else:
        source.read(folder / "out", silent)


def coco(content: bytes, folder: Path) -> None:
    """labels.json in COCO's format."""
    write_parts(content, folder / "root", "labels.json")
    (folder / "root/data").symlink_to(images())
    _prepare(Coco(root=folder / "root"), content, folder)


def voc(content: bytes, folder: Path) -> None:
    """The lists and two annotations of Pascal VOC."""
    year = folder / "root/VOC2007"
    for name in ("ImageSets/Main", "Annotations"):
        (year / name).mkdir(parents=True)
    write_parts(
        content,
        year,
        "Annotations/3.xml",
        "Annotations/5.xml",
        "ImageSets/Main/trainval.txt",
        "ImageSets/Main/test.txt",
    )
    for number in (4, 6, 7, 8, 9, 10, 11):
        (year / f"Annotations/{number}.xml").write_text(_VOC)
    (year / "JPEGImages").symlink_to(images())
    _prepare(Voc(root=folder / "root", val_share=0.4, difficult=len(content) % 2 == 0), content, folder)


_VOC = (
    "<annotation><size><width>48</width><height>32</height></size>"
    + layouts.OBJECT.format("cat", 0, 1, 1, 20, 20)
    + "</annotation>"
)


def nuswide(content: bytes, folder: Path) -> None:
    """Concepts, lists and labels of NUS-WIDE."""
    root = folder / "root"
    names = [f"TrainTestLabels/Labels_{label}_{part}.txt" for part in ("Train", "Test") for label in ("sky", "sea")]
    write_parts(
        content,
        root,
        "ConceptsList/Concepts81.txt",
        "ImageList/TrainImagelist.txt",
        "ImageList/TestImagelist.txt",
        *names,
    )
    (root / "TrainTestLabels").mkdir(parents=True, exist_ok=True)
    (root / "images").symlink_to(images())
    _prepare(NusWide(root=root), content, folder)


def table(content: bytes, folder: Path) -> None:
    """A CSV table; with a second part, the names of its label numbers, all options that repair it are on."""
    _table(content, folder, "tags.csv")


def json_lines(content: bytes, folder: Path) -> None:
    """A table in JSON lines."""
    _table(content, folder, "tags.jsonl")


def _table(content: bytes, folder: Path, name: str) -> None:
    root = folder / "root"
    lenient = write_parts(content, root, name, "names.txt") > 1
    (root / "images").symlink_to(images())
    source = Folder(
        root=root,
        table=name,
        merge_labels=lenient,
        merge_rows=lenient,
        skip_bad_rows=lenient,
        label_names=root / "names.txt" if lenient else None,
    )
    _prepare(source, content, folder)


def label_names(content: bytes, folder: Path) -> None:
    """A file with names of label numbers, as text and as JSON."""
    for name in ("names.txt", "names.json"):
        (folder / name).write_bytes(content)
    with contextlib.suppress(ValueError):
        read_names(folder / "names.txt")
    read_names(folder / "names.json")


def corrections(content: bytes, folder: Path) -> None:
    """A table of the tagger with verdicts."""
    (folder / "images").symlink_to(images())
    (folder / "tags.csv").write_bytes(content)
    labels = Labels(("cat", "owl", "red dog", "new"))
    for skip in (False, True):
        for row in read_corrections([folder / "tags.csv"], None, labels, ("new",), skip_bad_rows=skip).rows:
            assert row.content


def shards(content: bytes, folder: Path) -> None:
    """A tar file with test images."""
    root = folder / "root"
    for split in ("train", "val", "test"):
        (root / split).mkdir(parents=True)
    (root / "dataset.json").write_text(_DATASET)
    (root / "test/0.tar").write_bytes(content)
    for split in ("train", "val"):
        (root / split / "0.tar").symlink_to(good_shard(split))
    _prepare(Shards(root=root, streams=1), content, folder)


def shard_facts(content: bytes, folder: Path) -> None:
    """The JSON of an image in a shard."""
    root = folder / "root"
    for split in ("train", "val", "test"):
        (root / split).mkdir(parents=True)
    (root / "dataset.json").write_text(_DATASET)
    first, second = ((images() / f"{number}.png").read_bytes() for number in (6, 7))
    with tarfile.open(root / "val/0.tar", "w") as tar:
        for name, member in (
            ("a.json", content),
            ("a.png", first),
            ("b.png", second),
            ("b.json", b'{"labels": ["cat"]}'),
        ):
            header = tarfile.TarInfo(name)
            header.size = len(member)
            tar.addfile(header, io.BytesIO(member))
    for split in ("train", "test"):
        (root / split / "0.tar").symlink_to(good_shard(split))
    _prepare(Shards(root=root, streams=1), content, folder)


_DATASET = '{"labels": ["cat", "owl", "red dog"]}'


def dataset(content: bytes, folder: Path) -> None:
    """The dataset.json beside the shards."""
    root = folder / "root"
    write_parts(content, root, "dataset.json")
    for split in ("train", "val", "test"):
        (root / split).mkdir(parents=True)
        (root / split / "0.tar").symlink_to(good_shard(split))
    _prepare(Shards(root=root, streams=1), content, folder)


@functools.cache
def good_shard(split: str) -> Path:
    """A shard of a split, which lasts as long as the process."""
    with unwatched():
        return _good_shard(split)


def _good_shard(split: str) -> Path:
    file = lasting() / "0.tar"
    numbers = {"train": range(0, 6), "val": range(6, 9), "test": range(9, 12)}[split]
    samples = []
    for number in numbers:
        labels = [layouts.TAGS[label] for label in layouts.labels_of(number)]
        samples.append((".png", (images() / f"{number}.png").read_bytes(), {"labels": labels, "name": f"{number}"}))
    write_shard(file, samples)
    return file
