"""Copies of one photograph: re-encoded and resized, in splits that the project or the source chose."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlkd.core.progress import silent
from mlkd.data import Folder
from mlkd.data.base import Sample
from mlkd.data.copies import move_copies, photograph_greys, same_photograph_groups
from mlkd.data.leakage import Decoded
from mlkd.data.preparation import prepare
from mlkd.data.prepared import SPLITS, read_split
from mlkd.data.splits import TRAIN_VAL_TEST

TAGS = ("cat", "dog", "owl")


def photograph(seed: int, side: int = 240) -> Image.Image:
    """Large shapes with soft edges and some grain, which survive a smaller size."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(20, 235, (7, 7, 3), dtype=np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    return Image.fromarray(np.clip(np.asarray(coarse) + rng.normal(0, 6, (side, side, 3)), 0, 255).astype(np.uint8))


def re_encoded(image: Image.Image, quality: int, side: int) -> Image.Image:
    stream = io.BytesIO()
    image.resize((side, side), Image.Resampling.LANCZOS).save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def groups(*images: Image.Image) -> list[int]:
    small = [np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR)) for image in images]
    return same_photograph_groups(photograph_greys(small)).tolist()


def test_re_encoded_and_resized_copies_are_one_photograph() -> None:
    first, second = photograph(1), photograph(2)
    images = [first, second, re_encoded(first, 40, 240), re_encoded(second, 80, 120), re_encoded(first, 60, 80)]
    assert groups(*images) == [0, 1, 0, 1, 0]


def test_a_similar_photograph_is_no_copy() -> None:
    """One has an object on a tenth of the image, one is shifted by a twentieth."""
    first = photograph(3)
    with_object, shifted = first.copy(), first.crop((12, 0, 240, 240))
    with_object.paste((250, 250, 250), (20, 20, 95, 95))
    assert groups(first, with_object, shifted) == [0, 1, 2]


def test_images_of_a_single_tone_are_no_copies() -> None:
    assert groups(*(Image.new("RGB", (64, 64), (tone, tone, tone)) for tone in (100, 100, 101))) == [0, 1, 2]


def test_no_images_have_no_groups() -> None:
    assert len(same_photograph_groups(photograph_greys([]))) == 0


def test_groups_agree_with_a_comparison_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    greys = np.concatenate([photograph_greys([np.asarray(photograph(seed, 48))]) for seed in rng.integers(0, 9, 30)])
    greys = np.clip(greys + rng.normal(0, 0.7, greys.shape), 0, 255).astype(np.uint8)
    values = greys.astype(float)
    error = np.sqrt(((values[:, None] - values[None]) ** 2).mean((2, 3)))
    first = [int(np.flatnonzero(row <= 1.5)[0]) for row in error]
    assert 3 < len(set(first)) <= 9
    assert same_photograph_groups(greys).tolist() == first


def decoded(name: str, group: str = "", content: str = "", movable: bool = True) -> Decoded:
    return Decoded(0, Sample(name, Path(name), (), group or name, movable=movable), content or name)


def names(splits: dict[str, list[Decoded]]) -> dict[str, list[str]]:
    return {split: sorted(image.sample.name for image in images) for split, images in splits.items()}


def test_a_movable_copy_moves_to_the_split_of_its_group() -> None:
    splits = {"train": [decoded("a"), decoded("b")], "val": [decoded("c")], "test": [decoded("d"), decoded("e")]}
    remaining, dropped, findings = move_copies(splits, [0, 1, 2, 1, 4], TRAIN_VAL_TEST)
    assert not dropped
    split_of = {image.sample.name: split for split, images in remaining.items() for image in images}
    assert sorted(split_of) == ["a", "b", "c", "d", "e"]
    assert split_of["b"] == split_of["d"]
    assert {image.sample.group for image in remaining[split_of["b"]] if image.sample.name in "bd"} == {"b"}
    assert [finding.numbers for finding in findings] == [
        "2 images show 1 photographs. All copies of one stay in one split."
    ]


def test_groups_that_share_a_photograph_become_one() -> None:
    splits = {"train": [decoded("a", "1"), decoded("b", "2")], "val": [decoded("c", "2")], "test": [decoded("d", "1")]}
    remaining, _, _ = move_copies(splits, [0, 0, 2, 3], TRAIN_VAL_TEST)
    assert [len(images) for images in remaining.values() if images] == [4]


@pytest.mark.parametrize(("sha256", "train"), [("", ["a"]), ("same", ["a", "b"])])
def test_a_copy_in_given_splits_stays_in_the_most_important(sha256: str, train: list[str]) -> None:
    """Equal files are not dropped here: they are reported as a leak."""
    given = [decoded(name, content=sha256 if name in "bd" else "", movable=False) for name in "abcd"]
    splits = {"train": given[:2], "val": given[2:3], "test": given[3:]}
    remaining, dropped, _ = move_copies(splits, [0, 1, 2, 1], ())
    assert names(remaining) == {"train": train, "val": ["c"], "test": ["d"]}
    assert [image.sample.name for image in dropped] == [name for name in "ab" if name not in train]


def test_frames_of_one_view_do_not_empty_a_split() -> None:
    splits = {
        "train": [decoded(f"t{n}") for n in range(9)],
        "val": [decoded("v")],
        "test": [decoded("x"), decoded("y")],
    }
    remaining, dropped, findings = move_copies(splits, [5] * 11 + [6], TRAIN_VAL_TEST)
    assert names(remaining) == names(splits)
    assert not dropped
    assert [finding.numbers for finding in findings] == ["Groups of 11 images. They may be in different splits."]


def folder(root: Path, header: str, row: Callable[[int, str], str]) -> Folder:
    """24 photographs, each as a file and as a smaller one of lower quality."""
    lines = [header]
    for number in range(24):
        image = photograph(number, 120)
        image.save(root / f"{number}.png")
        re_encoded(image, 60, 80).save(root / f"small{number}.jpg", quality=70)
        lines += [row(number, f"{number}.png"), row(number, f"small{number}.jpg")]
    (root / "tags.csv").write_text("\n".join(lines) + "\n")
    return Folder(root=root)


def test_copies_in_a_folder_without_splits_stay_together(tmp_path: Path) -> None:
    source = folder(tmp_path, "file,tags", lambda number, name: f"{name},{TAGS[number % 3]}")
    listed = source.read(tmp_path, silent).splits
    before = {sample.file.stem: split for split, samples in listed.items() for sample in samples}
    assert any(before[f"{number}"] != before[f"small{number}"] for number in range(24))
    prepare(source, tmp_path / "out", (16, 32))
    splits = {name: read_split(tmp_path / "out", name) for name in SPLITS}
    split_of = {file.stem: name for name, split in splits.items() for file in split.files}
    assert len(split_of) == 48
    assert all(split_of[f"{number}"] == split_of[f"small{number}"] for number in range(24))
    for split in splits.values():
        for row, file in enumerate(split.files):
            with Image.open(file) as image:
                expected = np.asarray(image.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)).astype(int)
            assert np.abs(split.pixels(32)[row] - expected).max() <= 3  # its own pixels, even if it was moved
            number = int(file.stem.removeprefix("small"))
            assert split.labels.names[int(split.targets[row].argmax())] == TAGS[number % 3]


def test_copies_in_given_splits_are_dropped_and_counted(tmp_path: Path) -> None:
    def row(number: int, name: str) -> str:
        split = "test" if number % 4 == 0 else "val" if number % 4 == 1 else "train"
        return f"{name},{TAGS[number % 3]},{'train' if number == 8 and name.startswith('small') else split}"

    prepare(folder(tmp_path, "file,tags,split", row), tmp_path / "out", (16,))
    skipped = json.loads((tmp_path / "out/skipped.json").read_text())
    assert skipped == {"small8.jpg": f"{tmp_path / 'small8.jpg'}: copy in another split"}
    about = json.loads((tmp_path / "out/about.json").read_text())
    assert about["labels"]["owl"]["dropped"] == {"copy in another split": 1}
    assert [note["claim"] for note in about["notes"]] == [
        "Some images are copies of one photograph.",
        "Some images were left out.",
    ]
    assert about["findings"] == []
