"""The data source `shards`: the prepared set is that of the source that was written, but for the arrays of train."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlkd.core.images import load
from mlkd.data import Scenes, Shards
from mlkd.data.preparation import prepare
from mlkd.data.prepared import read_split
from mlkd.data.shards.write import write_shards


@pytest.fixture
def source(shards: Path, tmp_path: Path) -> Shards:
    """A copy that a test may damage."""
    return Shards(root=Path(shutil.copytree(shards, tmp_path / "shards")), streams=4, shuffle=5)


def by_name(folder: Path, split: str) -> dict[str, tuple[object, ...]]:
    part = read_split(folder, split)
    columns = (part.hashes, part.groups, map(tuple, part.targets.tolist()))
    return dict(zip(part.names, zip(*columns, strict=True), strict=True))


def test_shards_have_the_images_and_splits_of_their_source(prepared: Path, streamed: Path) -> None:
    for split in ("train", "select", "tune", "test"):
        assert by_name(streamed, split) == by_name(prepared, split), split
    about, expected = (json.loads((folder / "about.json").read_text()) for folder in (streamed, prepared))
    for key in ("provenance", "licences", "composed", "counts", "label_counts", "labels_per_image"):
        assert about[key] == expected[key], key
    assert "Training images in shards are compared by content alone." in [note["claim"] for note in about["notes"]]


def test_only_train_stays_in_shards(streamed: Path, prepared: Path) -> None:
    assert not list(streamed.glob("train.[0-9]*.npy"))
    test = read_split(streamed, "test")
    for row, file in enumerate(test.files):
        np.testing.assert_array_equal(test.pixels(24)[row], load(file, 24))
    train, source = read_split(streamed, "train"), read_split(prepared, "train")
    rows = np.array([19, 2, 3])
    originals = [list(source.names).index(train.names[row]) for row in rows]
    np.testing.assert_array_equal(train.pixels_of(24, rows), source.pixels_of(24, np.array(originals)))
    np.testing.assert_array_equal(train.aspects_of(rows), np.ones(3))
    with pytest.raises(ValueError, match="train: expected images as an array, got shards"):
        train.pixels(24)
    assert train.of_role("major") is None
    assert len(train.clusters) == len(train) == 24


def test_boxes_groups_and_unknown_labels_survive(scenes: Scenes, tmp_path: Path) -> None:
    prepare(scenes, tmp_path / "scenes", (32,))
    targets = np.load(tmp_path / "scenes/train.targets.npy")
    label_mask = np.ones(targets.shape, bool)
    label_mask[:4], label_mask[4:9, 1] = False, False
    np.save(tmp_path / "scenes/train.known.npy", label_mask)
    np.save(tmp_path / "scenes/train.targets.npy", targets * label_mask)
    write_shards(tmp_path / "scenes", tmp_path / "shards", images=7, seed=1)
    assert len(list((tmp_path / "shards/train").glob("*.tar"))) == 6  # of 40 images
    prepare(Shards(root=tmp_path / "shards", streams=2), tmp_path / "again", (32,))
    for name in ("train", "select", "tune", "test"):
        before, after = (read_split(tmp_path / folder, name) for folder in ("scenes", "again"))
        rows = [list(after.names).index(each) for each in before.names]
        assert [after.groups[row] for row in rows] == list(before.groups)
        np.testing.assert_array_equal(after.targets[rows], before.targets)
        if name == "train":
            assert after.label_mask is not None
            np.testing.assert_array_equal(after.label_mask[rows], label_mask)
        else:
            assert [after.boxes[row] for row in rows] == list(before.boxes)
            assert [after.clusters[row] for row in rows] == list(before.clusters)


def test_an_unreadable_image_is_left_out_of_the_index(source: Shards, tmp_path: Path) -> None:
    shard = sorted((source.root / "train").glob("*.tar"))[2]
    content = bytearray(shard.read_bytes())
    content[512:1024] = bytes(512)  # of the first image
    shard.write_bytes(content)
    prepare(source, tmp_path / "out", (24,))
    train = read_split(tmp_path / "out", "train")
    assert len(train) == 23
    assert train.shards is not None
    assert np.diff(train.shards.starts).tolist() == [3, 3, 2, 3, 3, 3, 3, 3]
    assert all(len(content) for content in train.shards.read(6, 8))
    (name, cause), *others = json.loads((tmp_path / "out/skipped.json").read_text()).items()
    assert not others
    assert f"{shard}, 000002-000000.png: " in cause
    assert name not in train.names


def test_the_same_image_in_two_splits_is_refused(source: Shards, tmp_path: Path) -> None:
    shutil.copy(source.root / "test/000000.tar", source.root / "train/000003.tar")
    with pytest.raises(ValueError, match="splits: expected every image in one split, got the same name in train"):
        prepare(source, tmp_path / "out", (24,))


def test_what_is_missing_is_named(source: Shards, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"streams: expected at most the 8 shards of train, got 9; lower it"):
        prepare(replace(source, streams=9), tmp_path / "out", (24,))
    with pytest.raises(ValueError, match=r"val: expected tar files validation/\*\.tar in .*, got none"):
        replace(source, val="validation/*.tar").fingerprint()
    (source.root / "dataset.json").write_text('{"labels": "cat"}')
    with pytest.raises(ValueError, match=r"dataset\.json: expected `labels`, a list of names, got 'cat'"):
        source.fingerprint()
    (source.root / "dataset.json").write_text("cat")
    with pytest.raises(ValueError, match=r"dataset\.json: expected JSON, got Expecting value"):
        source.fingerprint()
    (source.root / "dataset.json").unlink()
    with pytest.raises(ValueError, match=r'dataset\.json: expected \{"labels"'):
        source.fingerprint()
    for change in ({"streams": 0}, {"shuffle": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(change))}: expected 1 to"):
            replace(source, **change)


def test_the_fingerprint_sees_every_shard_and_the_labels(source: Shards) -> None:
    before = source.fingerprint()
    assert source.fingerprint() == before
    with (source.root / "val/000001.tar").open("ab") as shard:
        shard.write(bytes(512))
    assert (changed := source.fingerprint()) != before
    about = json.loads((source.root / "dataset.json").read_text())
    (source.root / "dataset.json").write_text(json.dumps({**about, "labels": ["red", "green", "bleu"]}))
    assert source.fingerprint() != changed


def test_shards_are_never_mixed_with_other_files(prepared: Path, shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a new or empty folder, got files"):
        write_shards(prepared, shards, images=3, seed=0)
    with pytest.raises(ValueError, match="images: expected at least 1 in a shard, got 0"):
        write_shards(prepared, tmp_path / "new", images=0, seed=0)


def test_training_reads_no_names(streamed: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(streamed, tmp_path / "streamed"))
    (folder / "train.json").write_text("not read")
    train = read_split(folder, "train")
    assert train.targets[[3, 5]].shape == (2, 3)
    assert len(train) == 24
    with pytest.raises(json.JSONDecodeError):
        train.names[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"licences": None}, "licences: expected a list of texts, got None"),
        ({"licences": 5}, "licences: expected a list of texts, got 5"),
        ({"provenance": ["a"]}, "provenance: expected text, got"),
        ({"labels": ["\ud800"]}, "expected `labels`, a list of names, got"),
    ],
)
def test_facts_of_another_kind_in_dataset_json_are_refused(
    source: Shards, change: dict[str, object], message: str
) -> None:
    file = source.root / "dataset.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ValueError, match=rf"dataset\.json: {message}"):
        source.fingerprint()
