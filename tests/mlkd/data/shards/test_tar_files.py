"""The WebDataset format: its keys, and every fault named with its shard and member."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from mlkd.core.labels import Labels
from mlkd.data.base import Box
from mlkd.data.shard_index.member import Member
from mlkd.data.shards.tar_files import read_shard, write_shard

LABELS = Labels(("cat", "dog", "red owl"))


def write(shard: Path, members: dict[str, Any]) -> Path:
    """A tar file as any program writes it; dicts and lists become JSON."""
    with tarfile.open(shard, "w") as tar:
        for name, value in members.items():
            content = value if isinstance(value, bytes) else json.dumps(value).encode()
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return shard


def test_keys_end_at_the_first_dot_of_the_file_name(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    members = {
        "v1.0/a.jpg": b"one", "v1.0/a.json": {"labels": ["dog", "cat"]}, "v1.0/a.txt": b"a caption",
        "README": b"no sample",
        "v1.0/b.json": {"labels": [], "name": "b", "group": "g", "unknown": ["red owl"], "shared": ["x"]},
        "v1.0/b.PNG": b"other",
        "c.webp": b"third", "c.json": {"labels": None, "boxes": []},
    }  # fmt: skip
    first, second, third = read_shard(write(tmp_path / "train/7.tar", members), LABELS)
    assert (first.name, first.group, first.positives) == ("train/7/v1.0/a", "train/7/v1.0/a", (0, 1))
    assert (second.name, second.group, second.positives, second.unknown) == ("b", "g", (), (2,))
    assert second.shared == ("x",)
    assert (third.labelled, third.positives) == (False, ())
    assert [sample.file.read_bytes() for sample in (first, second, third)] == [b"one", b"other", b"third"]
    assert isinstance(first.file, Member)
    assert (second.file.suffix, str(first.file)) == (".PNG", f"{tmp_path}/train/7.tar, v1.0/a.jpg")


def test_what_is_written_is_read_and_is_reproducible(tmp_path: Path) -> None:
    facts = {"labels": ["dog"], "boxes": [["dog", 0.1, 0.2, 0.5, 0.5, "major"]]}
    for name in ("one", "two"):
        write_shard(tmp_path / f"{name}.tar", [(".jpg", b"abc", facts), (".png", b"d" * 600, {"labels": ["cat"]})])
    samples = read_shard(tmp_path / "one.tar", LABELS)
    assert [sample.file.read_bytes() for sample in samples] == [b"abc", b"d" * 600]
    assert samples[0].boxes == (Box(1, 0.1, 0.2, 0.5, 0.5, "major"),)
    one, two = ((tmp_path / f"{name}.tar").read_bytes() for name in ("one", "two"))
    assert one.replace(b"one-", b"two-") != one
    assert len(one) == len(two)
    assert not list(tmp_path.glob("*.partial"))


IMAGE = {"a.jpg": b"x"}
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no labels": (
        {"a.jpg": b"x", "b.jpg": b"x", "a.json": {"labels": []}},
        r"a: expected an image and a\.json .* got only \.jpg",
    ),
    "no image": ({"a.json": {"labels": []}}, r"a: expected an image and a\.json .* got only \.json"),
    "unknown label": (IMAGE | {"a.json": {"labels": ["dig"]}}, r"a\.json: label: .*got 'dig'; did you mean dog"),
    "no JSON": (IMAGE | {"a.json": b"dog"}, r"a\.json: expected JSON, got Expecting value"),
    "one label as text": (IMAGE | {"a.json": {"labels": "dog"}}, r"a\.json: expected `labels`, a list"),
    "no key": (IMAGE | {"a.json": {"tags": ["dog"]}}, r"a\.json: expected `labels`, a list"),
    "a list": (IMAGE | {"a.json": ["dog"]}, r"a\.json: expected `labels`, a list"),
    "numbers": (IMAGE | {"a.json": {"labels": [1]}}, r"a\.json: labels: expected label names"),
    "boxes of numbers": (IMAGE | {"a.json": {"labels": [], "boxes": [1]}}, r"a\.json: boxes: expected boxes \[label"),
    "a box of five": (
        IMAGE | {"a.json": {"labels": ["dog"], "boxes": [["dog", 0, 0, 1, 1]]}},
        r"a\.json: boxes: expected boxes \[label",
    ),
    "a corner as text": (
        IMAGE | {"a.json": {"labels": ["dog"], "boxes": [["dog", 0, 0, 1, "1", "major"]]}},
        r"a\.json: boxes: expected boxes \[label",
    ),
    "a list as name": (IMAGE | {"a.json": {"labels": ["dog"], "name": ["a"]}}, r"a\.json: name: expected text"),
    "a name that is no Unicode": (
        IMAGE | {"a.json": b'{"labels": ["dog"], "name": "\\ud800"}'},
        r"a\.json: name: expected text, got '\\ud800'",
    ),
    "a number as shared": (IMAGE | {"a.json": {"labels": ["dog"], "shared": 5}}, r"a\.json: shared: expected texts"),
    "many levels": (IMAGE | {"a.json": b"[" * 100_000}, r"a\.json: expected JSON, got lists or objects in too many"),
    "twice": (IMAGE | {"a.json": {"labels": ["dog"], "unknown": ["dog"]}}, r"a\.json: expected each label once, got"),
    "nothing": ({}, r"expected images, got an empty shard"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_samples_are_named(tmp_path: Path, fault: str) -> None:
    members, message = FAULTS[fault]
    with pytest.raises(ValueError, match=rf"7\.tar(, |: ){message}"):
        read_shard(write(tmp_path / "7.tar", members), LABELS)


@pytest.mark.parametrize("kept", [0, 300, 512, 600, 1536, 2048, 2700, 3072])
def test_a_truncated_shard_is_refused(tmp_path: Path, kept: int) -> None:
    shard = write(tmp_path / "7.tar", {"a.jpg": b"x" * 400, "a.json": {"labels": []}, "b.jpg": b"y"})
    shard.write_bytes(shard.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"7\.tar: expected"):
        read_shard(shard, LABELS)


@pytest.mark.parametrize("at", [5, 1029, 2053])
def test_a_damaged_header_is_refused(tmp_path: Path, at: int) -> None:
    shard = write(tmp_path / "7.tar", {"a.jpg": b"x" * 400, "a.json": {"labels": []}, "b.jpg": b"y"})
    content = bytearray(shard.read_bytes())
    content[at] ^= 1
    shard.write_bytes(content)
    with pytest.raises(ValueError, match=r"7\.tar: expected"):
        read_shard(shard, LABELS)


def test_a_compressed_shard_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "7.tar", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("a.jpg"))
    with pytest.raises(ValueError, match=r"7\.tar: expected an uncompressed tar file"):
        read_shard(tmp_path / "7.tar", LABELS)
