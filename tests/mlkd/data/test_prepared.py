import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlkd.data import SPLITS, Scenes, prepare, read_split
from mlkd.data.base import Listing, Picture
from mlkd.images import load
from mlkd.labels import Labels
from mlkd.progress import Progress, silent


@dataclass
class Given:
    """A source that lists what a test gives it."""

    listing: Listing

    def needs_fetch(self) -> bool:
        return False

    def fingerprint(self) -> str:
        return "given"

    def read(self, work: Path, progress: Progress) -> Listing:
        return self.listing


def picture(folder: Path, name: str, positives: tuple[int, ...] = (0,)) -> Picture:
    rng = np.random.default_rng(list(name.encode()))
    file = folder / f"{name}.png"
    Image.fromarray(rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(file)
    return Picture(name, file, positives, name)


@pytest.fixture
def listing(tmp_path: Path) -> Listing:
    (tmp_path / "in").mkdir()
    splits = {
        split: [picture(tmp_path / "in", f"{split}{number}", (number % 2,)) for number in range(6)]
        for split in ("train", "val", "test")
    }
    return Listing(Labels(("cat", "dog")), splits, "drawn", ("none",))


def test_scenes_prepared_and_read_back(scenes: Scenes, tmp_path: Path) -> None:
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
        assert split.major is not None
        assert split.minor is not None
        np.testing.assert_array_equal(split.major | split.minor, split.targets)
        np.testing.assert_array_equal(split.major.sum(1), 1)
        for row in (0, len(split) - 1):
            assert hashlib.sha256(split.files[row].read_bytes()).hexdigest() == split.hashes[row]
            for px in (32, 48):
                np.testing.assert_array_equal(split.pixels(px)[row], load(split.files[row], px))
    assert {path.name for path in out.glob("val*")} == set()


def test_a_prepared_folder_can_be_moved(scenes: Scenes, tmp_path: Path) -> None:
    prepare(scenes, tmp_path / "out.partial", (32,))
    (tmp_path / "out.partial").rename(tmp_path / "out")
    assert all(file.is_file() for file in read_split(tmp_path / "out", "test").files)


def test_unreadable_pictures_are_left_out_and_named(listing: Listing, tmp_path: Path) -> None:
    bad = listing.splits["train"][2].file
    bad.write_bytes(bad.read_bytes()[:200])
    listing.splits["val"][3].file.write_bytes(b"no picture")
    listing.splits["test"][5].file.unlink()
    prepare(Given(listing), tmp_path / "out", (16,))
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


def test_a_split_without_a_picture_is_refused(listing: Listing, tmp_path: Path) -> None:
    for one in listing.splits["test"]:
        one.file.write_bytes(b"")
    with pytest.raises(ValueError, match="split test: expected readable pictures, got 0 of 6"):
        prepare(Given(listing), tmp_path / "out", (16,))


def test_reading_what_is_not_there(listing: Listing, tmp_path: Path) -> None:
    prepare(Given(listing), tmp_path / "out", (16,))
    assert read_split(tmp_path / "out", "train").major is None
    with pytest.raises(ValueError, match=r"prepared sizes \[16\], got 20"):
        read_split(tmp_path / "out", "train").pixels(20)
    with pytest.raises(ValueError, match="expected one of train, select, tune, test, got 'val'"):
        read_split(tmp_path / "out", "val")
    with pytest.raises(ValueError, match="run the data stage"):
        read_split(tmp_path, "train")


def test_progress_is_told(listing: Listing, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    prepare(Given(listing), tmp_path / "out", (16,), lambda *what: told.append(what))
    assert ("decoding, test", 6, 6) in told
    silent("nothing", 0, 0)
