import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlkd.core.progress import silent
from mlkd.data.scenes.cutouts import Cutout, assign_splits, read_cutouts
from mlkd.data.scenes.mapping import folder_cutouts

PX = 48


@pytest.fixture(scope="module")
def cutouts(drawn: Path) -> list[Cutout]:
    return read_cutouts(folder_cutouts(drawn / "cutouts"), drawn, PX, {}, silent)[0]


def test_every_split_has_every_label_and_no_group_is_in_two(cutouts: list[Cutout]) -> None:
    of_group = defaultdict(set)
    for cutout in cutouts:
        of_group[cutout.group].add(cutout.split)
    assert all(len(splits) == 1 for splits in of_group.values())
    for label in range(3):
        assert {cutout.split for cutout in cutouts if cutout.label == label} == {"train", "val", "test"}
    assert len({cutout.name for cutout in cutouts}) == len(cutouts) == 36


def test_cutouts_are_cropped_and_shrunk(cutouts: list[Cutout]) -> None:
    for cutout in cutouts:
        alpha = np.asarray(cutout.image)[..., 3]
        assert max(cutout.image.size) <= PX
        assert max(cutout.half.size) <= PX // 2
        assert all(edge.any() for edge in (alpha[:2], alpha[-2:], alpha[:, :2], alpha[:, -2:]))  # a tip may fade


def test_near_duplicates_of_a_test_cutout_go_to_test(drawn: Path, tmp_path: Path, cutouts: list[Cutout]) -> None:
    held_out = next(cutout for cutout in cutouts if cutout.split == "test" and cutout.label == 2)
    shutil.copytree(drawn / "cutouts", tmp_path, dirs_exist_ok=True)
    with Image.open(drawn / held_out.name) as image:
        lighter = np.asarray(image).copy()
    lighter[..., :3] = lighter[..., :3] // 2 + 60
    Image.fromarray(lighter).resize((70, 70)).save(tmp_path / "wave" / "twin.png")
    cutouts, _ = read_cutouts(folder_cutouts(tmp_path), tmp_path, PX, {}, silent)
    twin = next(cutout for cutout in cutouts if cutout.name == "wave/twin.png")
    original = next(cutout for cutout in cutouts if cutout.name == f"wave/{Path(held_out.name).name}")
    assert twin.group == original.group
    assert twin.split == original.split


def test_unusable_files_are_skipped_with_a_reason(drawn: Path, tmp_path: Path) -> None:
    shutil.copytree(drawn / "cutouts/ruby", tmp_path / "ruby")
    whole = (tmp_path / "ruby" / "0.png").read_bytes()
    (tmp_path / "ruby" / "copy.png").write_bytes(whole)
    (tmp_path / "ruby" / "cut.png").write_bytes(whole[: len(whole) // 2])
    Image.new("RGBA", (20, 20)).save(tmp_path / "ruby" / "empty.png")
    frame = Image.new("RGBA", (60, 60), (0, 0, 0, 255))
    frame.paste((0, 0, 0, 0), (1, 1, 59, 59))
    frame.save(tmp_path / "ruby" / "frame.png")
    cutouts, skipped = read_cutouts(folder_cutouts(tmp_path), tmp_path, PX, {}, silent)
    assert set(skipped) == {f"ruby/{name}.png" for name in ("copy", "cut", "empty", "frame")}
    assert "same file" in skipped["ruby/copy.png"]
    assert skipped["ruby/frame.png"] == "an empty outline"
    assert skipped["ruby/cut.png"].startswith("cannot be read: ")
    assert skipped["ruby/empty.png"] == "no pixel is visible"
    assert len(cutouts) == 12


def test_a_cap_takes_whole_groups(drawn: Path) -> None:
    cutouts, _ = read_cutouts(folder_cutouts(drawn / "cutouts"), drawn, PX, {"ruby": 5}, silent)
    assert [sum(cutout.label == label for cutout in cutouts) for label in range(3)] == [12, 5, 12]


def test_splits_follow_the_shares() -> None:
    splits = assign_splits({f"group {number}": 1 for number in range(100)}, "any")
    counts = {split: list(splits.values()).count(split) for split in ("train", "val", "test")}
    assert counts == {"train": 60, "val": 15, "test": 25}


def test_a_label_with_too_few_groups_is_refused() -> None:
    with pytest.raises(ValueError, match=r"label 'owl': expected at least 3 .* got 2"):
        assign_splits({"a": 4, "b": 9}, "owl")
