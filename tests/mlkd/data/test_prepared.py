import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlkd.core.images import load
from mlkd.core.labels import Labels
from mlkd.core.progress import Progress
from mlkd.data import Scenes
from mlkd.data.base import Listing, Sample
from mlkd.data.preparation import prepare
from mlkd.data.prepared import SPLITS, read_split


@dataclass
class Given:
    """A source with the listing of a test."""

    listing: Listing

    def needs_fetch(self) -> bool:
        return False

    def fingerprint(self) -> str:
        return "given"

    def read(self, work: Path, progress: Progress) -> Listing:
        return self.listing


def sample(folder: Path, name: str, positives: tuple[int, ...] = (0,)) -> Sample:
    rng = np.random.default_rng(list(name.encode()))
    file = folder / f"{name}.png"
    Image.fromarray(rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(file)
    return Sample(name, file, positives, name)


@pytest.fixture
def listing(tmp_path: Path) -> Listing:
    (tmp_path / "in").mkdir()
    splits = {
        split: [sample(tmp_path / "in", f"{split}{number}", (number % 2,)) for number in range(6)]
        for split in ("train", "val", "test")
    }
    return Listing(Labels(("cat", "dog")), splits, "drawn", ("none",))


def test_scenes_are_prepared_and_read_back(scenes: Scenes, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(scenes, out, (32, 48))
    splits = {name: read_split(out, name) for name in SPLITS}
    assert len(splits["train"]) == 40
    assert len(splits["select"]) + len(splits["tune"]) == len(splits["test"]) == 20
    assert not set(splits["select"].names) & set(splits["tune"].names)
    about = json.loads((out / "about.json").read_text())
    assert about["composed"] is True
    assert about["counts"]["train"] == 40
    for split in splits.values():
        assert split.targets.shape == (len(split), 3)
        major, minor = split.of_role("major"), split.of_role("minor")
        np.testing.assert_array_equal(major | minor, split.targets)
        np.testing.assert_array_equal(major.sum(1), 1)
        for row in (0, len(split) - 1):
            assert hashlib.sha256(split.files[row].read_bytes()).hexdigest() == split.hashes[row]
            for px in (32, 48):
                np.testing.assert_array_equal(split.pixels(px)[row], load(split.files[row], px))
    assert {path.name for path in out.glob("val*")} == set()
    out.rename(tmp_path / "moved")
    assert all(file.is_file() for file in read_split(tmp_path / "moved", "test").files)


def test_unreadable_images_are_left_out_and_named(listing: Listing, tmp_path: Path) -> None:
    bad = listing.splits["train"][2].file
    bad.write_bytes(bad.read_bytes()[:200])
    listing.splits["val"][3].file.write_bytes(b"no image")
    listing.splits["test"][5].file.unlink()
    calls: list[tuple[str, int, int]] = []
    prepare(Given(listing), tmp_path / "out", (16,), lambda *call: calls.append(call))
    assert ("decoding, test", 6, 6) in calls
    train, test = read_split(tmp_path / "out", "train"), read_split(tmp_path / "out", "test")
    assert train.names == ("train0", "train1", "train3", "train4", "train5")
    assert train.pixels(16).shape == (5, 16, 16, 3)
    np.testing.assert_array_equal(train.pixels(16)[2], load(listing.splits["train"][3].file, 16))
    np.testing.assert_array_equal(train.targets.argmax(1), [0, 1, 1, 0, 1])
    assert test.names[-1] == "test4"
    skipped = json.loads((tmp_path / "out" / "skipped.json").read_text())
    assert set(skipped) == {"train2", "val3", "test5"}
    assert "train2.png" in skipped["train2"]
    assert json.loads((tmp_path / "out" / "about.json").read_text())["skipped"] == 3


@pytest.mark.parametrize("what", ["name", "content"])
def test_a_leak_is_refused(what: str, listing: Listing, tmp_path: Path) -> None:
    leaked = listing.splits["train"][0]
    if what == "content":
        copy = tmp_path / "in" / "copy.png"
        copy.write_bytes(leaked.file.read_bytes())
        leaked = replace(leaked, name="copy", file=copy)
    else:
        leaked = replace(leaked, file=listing.splits["test"][0].file)
        listing.splits["test"].pop(0)
    listing.splits["test"].append(leaked)
    with pytest.raises(ValueError, match=rf"the same {what} in train \(train0\) and test"):
        prepare(Given(listing), tmp_path / "out", (16,))


def test_the_message_counts_all_leaks(listing: Listing, tmp_path: Path) -> None:
    for sample in listing.splits["train"]:
        twin = tmp_path / "in" / f"twin{sample.name}.png"
        twin.write_bytes(sample.file.read_bytes())
        listing.splits["test"].append(replace(sample, name=twin.stem, file=twin))
    with pytest.raises(ValueError, match=r"train \(train4\) and test \(twintrain4\); and 1 more; remove one of each"):
        prepare(Given(listing), tmp_path / "out", (16,))


def test_a_copy_in_two_published_splits_is_dropped_from_one(listing: Listing, tmp_path: Path) -> None:
    for split, number in (("train", 1), ("val", 0)):
        listing.splits[split][number].file.write_bytes(listing.splits["test"][number].file.read_bytes())
    prepare(Given(replace(listing, published=True)), tmp_path / "out", (16,))
    skipped = json.loads((tmp_path / "out" / "skipped.json").read_text())
    assert {name: cause.split(": ")[1] for name, cause in skipped.items()} == {
        "train1": "same content as test1 in test",
        "val0": "same content as test0 in test",
    }
    train = read_split(tmp_path / "out", "train")
    assert train.names == ("train0", "train2", "train3", "train4", "train5")
    np.testing.assert_array_equal(train.pixels(16)[1], load(listing.splits["train"][2].file, 16))
    assert len(read_split(tmp_path / "out", "test")) == 6


def test_partial_and_missing_labels(listing: Listing, tmp_path: Path) -> None:
    train, test = listing.splits["train"], listing.splits["test"]
    train[0] = replace(train[0], unknown=(1,))
    train[1] = replace(train[1], positives=())
    train[2] = replace(train[2], positives=(), labelled=False)
    test[3] = replace(test[3], positives=(), unknown=(0,))
    val = listing.splits["val"]
    val[5] = replace(val[5], unknown=(0,))
    prepare(Given(listing), tmp_path / "out", (16,))
    splits = {name: read_split(tmp_path / "out", name) for name in SPLITS}
    np.testing.assert_array_equal(splits["train"].label_mask, [[1, 0], [1, 1], [0, 0], [1, 1], [1, 1], [1, 1]])
    np.testing.assert_array_equal(splits["train"].targets, [[1, 0], [0, 0], [0, 0], [0, 1], [1, 0], [0, 1]])
    np.testing.assert_array_equal(splits["test"].label_mask, [[1, 1]] * 3 + [[0, 1]] + [[1, 1]] * 2)
    halves = [splits[name] for name in ("select", "tune")]
    of_five = next(half for half in halves if "val5" in half.names)
    other = next(half for half in halves if "val5" not in half.names)
    assert other.label_mask is None
    assert not (tmp_path / "out" / f"{other.name}.known.npy").exists()
    np.testing.assert_array_equal(of_five.label_mask[of_five.names.index("val5")], [0, 1])
    assert (~of_five.label_mask).sum() == 1
    about = json.loads((tmp_path / "out" / "about.json").read_text())
    assert about["unknown"]["train"] == {"cat": 1, "dog": 2}
    assert about["unknown"]["test"] == {"cat": 1, "dog": 0}
    assert about["empty"] == {"train": 1, "select": 0, "tune": 0, "test": 1}
    assert about["unlabelled"] == {"train": 1, "select": 0, "tune": 0, "test": 0}
    assert about["labels_per_image"]["train"] == {"0": 1, "1": 4}


@pytest.mark.parametrize("split", ["val", "test"])
def test_only_train_may_have_unlabelled_images(split: str, listing: Listing, tmp_path: Path) -> None:
    listing.splits[split][0] = replace(listing.splits[split][0], positives=(), labelled=False)
    with pytest.raises(ValueError, match=f"split {split}: expected labelled images only, got {split}0; move it to tr"):
        prepare(Given(listing), tmp_path / "out", (16,))


def test_a_split_without_readable_images_is_refused(listing: Listing, tmp_path: Path) -> None:
    for sample in listing.splits["test"]:
        sample.file.write_bytes(b"")
    with pytest.raises(ValueError, match="split test: expected readable images, got 0 of 6"):
        prepare(Given(listing), tmp_path / "out", (16,))


@pytest.mark.parametrize(("split", "where"), [("val", " in select"), ("test", "")])
def test_a_split_without_a_positive_is_refused(split: str, where: str, listing: Listing, tmp_path: Path) -> None:
    listing.splits[split] = [replace(sample, positives=()) for sample in listing.splits[split]]
    with pytest.raises(
        ValueError, match=f"^{split}: expected a positive of some label{where}, got none; tag more images$"
    ):
        prepare(Given(listing), tmp_path / "out", (16,))


def test_the_only_positive_of_val_is_in_select(listing: Listing, tmp_path: Path) -> None:
    for number in (0, 3):
        val = [replace(sample, positives=(1,) * (row == number)) for row, sample in enumerate(listing.splits["val"])]
        source = Given(replace(listing, splits=listing.splits | {"val": val}))
        prepare(source, tmp_path / "out", (16,))
        assert read_split(tmp_path / "out", "select").targets.sum() == 1
        assert read_split(tmp_path / "out", "tune").targets.sum() == 0


def test_errors_name_a_missing_size_split_or_folder(listing: Listing, tmp_path: Path) -> None:
    prepare(Given(listing), tmp_path / "out", (16,))
    assert read_split(tmp_path / "out", "train").of_role("major") is None
    with pytest.raises(ValueError, match=r"prepared sizes \[16\], got 20"):
        read_split(tmp_path / "out", "train").pixels(20)
    with pytest.raises(ValueError, match="expected one of train, select, tune, test, got 'val'"):
        read_split(tmp_path / "out", "val")
    with pytest.raises(ValueError, match="run the data stage"):
        read_split(tmp_path, "train")
