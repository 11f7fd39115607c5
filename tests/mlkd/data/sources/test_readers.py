"""Readers of published layouts: any content of a file is read or refused by name; each file is in the fingerprint."""

import json
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlkd.core.progress import silent
from mlkd.data import Coco, NusWide, Voc
from tests.helpers import layouts

ROUNDS = 60
ODD = (
    None, True, -1, 0, 1e400, float("nan"), 10**30, [], {}, [[]], {"id": []}, [None],
    "", " ", "1", "\0", "\ud800", "é\u0301", "../x", "/", "C:\\x", ".", "a" * 300,
)  # fmt: skip
PIECES = (
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\n\n", b"<", b"&x;", b"..", b"/", b'"', b"9" * 400, b"nan", b"1e999",
    b"\xc3",
)  # fmt: skip
XML = (
    b'<?xml version="1.0" encoding="none"?>',
    b'<?xml version="1.0" encoding="utf-16"?>',
    b"<!DOCTYPE a [<!ENTITY x '1'>]>",
)


def mutated_bytes(content: bytes, chance: random.Random) -> bytes:
    """Insert, remove or replace bytes, or truncate."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(len(changed) + 1)
        kind = chance.random()
        if kind < 0.5:
            changed[place : place + chance.choice((0, 1, 6))] = chance.choice(PIECES)
        elif kind < 0.75:
            del changed[place : place + chance.randint(1, 30)]
        elif kind < 0.9:
            changed[:0] = chance.choice(XML)
        else:
            del changed[place:]
    return bytes(changed)


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every container of a JSON tree with each of its keys."""
    keys = tree.keys() if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in keys:
        yield tree, key
        yield from places(tree[key])


def mutated_json(content: bytes, chance: random.Random) -> bytes:
    """Replace or remove a few values."""
    tree = json.loads(content)
    for _ in range(chance.randint(1, 4)):
        options = list(places(tree))
        if not options:
            break
        container, key = chance.choice(options)
        if isinstance(container, dict) and chance.random() < 0.2:
            del container[key]
        else:
            container[key] = chance.choice(ODD)
    return json.dumps(tree).encode()


def coco(root: Path) -> tuple[Coco | Voc | NusWide, list[Path]]:
    layouts.coco(root)
    return Coco(root=root), [root / "annotations/instances_train2014.json"]


def voc(root: Path) -> tuple[Coco | Voc | NusWide, list[Path]]:
    year = layouts.voc(root) / "VOCdevkit/VOC2007"
    lists = [year / "ImageSets/Main/trainval.txt", year / "ImageSets/Main/test.txt"]
    return Voc(root=root), [*lists, *sorted((year / "Annotations").iterdir())]


def nuswide(root: Path) -> tuple[Coco | Voc | NusWide, list[Path]]:
    layouts.nuswide(root)
    lists = [
        file for part in ("ImageList", "ConceptsList", "TrainTestLabels") for file in sorted((root / part).iterdir())
    ]
    return NusWide(root=root), lists


@pytest.mark.parametrize(
    ("layout", "mutated"),
    [(coco, mutated_json), (coco, mutated_bytes), (voc, mutated_bytes), (nuswide, mutated_bytes)],
    ids=["coco, values", "coco, bytes", "voc", "nuswide"],
)
def test_a_mutated_file_is_read_or_refused(
    layout: Callable[[Path], tuple[Coco | Voc | NusWide, list[Path]]],
    mutated: Callable[[bytes, random.Random], bytes],
    tmp_path: Path,
) -> None:
    source, files = layout(tmp_path)
    chance, read = random.Random(layout.__name__), 0
    refused: list[str] = []
    for _ in range(ROUNDS):
        file = chance.choice(files)
        whole = file.read_bytes()
        file.write_bytes(mutated(whole, chance))
        try:
            listing = source.read(tmp_path, silent)
        except ValueError as cause:
            refused.append(str(cause))
        else:
            assert all(sample.file.is_file() for samples in listing.splits.values() for sample in samples)
            read += 1
        file.write_bytes(whole)
    assert refused
    assert all(str(tmp_path) in cause for cause in refused)
    assert read


@pytest.mark.parametrize("layout", [coco, voc, nuswide])
def test_the_fingerprint_depends_on_lists_and_on_images(
    layout: Callable[[Path], tuple[Coco | Voc | NusWide, list[Path]]], tmp_path: Path
) -> None:
    source, files = layout(tmp_path)
    seen = [source.fingerprint()]
    assert source.fingerprint() == seen[0]
    image = next(tmp_path.rglob("*.jpg"))
    image.rename(image.with_name("renamed.jpg"))
    seen.append(source.fingerprint())
    other = image.with_name("renamed.jpg")
    other.write_bytes(bytes(other.stat().st_size))
    os.utime(other, ns=(1, 1))  # a clock with long steps could give both the same time
    seen.append(source.fingerprint())
    for file in (files[0], files[-1]):
        file.write_bytes(file.read_bytes() + b"\n")
        seen.append(source.fingerprint())
    assert len(set(seen)) == len(seen)
    assert not source.needs_fetch()
    with pytest.raises(ValueError, match=r"val_share: expected 0.05 to 0.5, got 0.9"):
        replace(source, val_share=0.9)
