"""Data sets in COCO's format as labelling tools export them, and faults in annotation files."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from mlkd.core.progress import silent
from mlkd.data import Coco
from mlkd.data.base import Listing
from mlkd.data.preparation import prepare
from mlkd.data.sources.coco_layout import CocoPart
from tests.helpers import layouts
from tests.helpers.coco_exports import (
    COUNT,
    EXPORTS,
    NAMES,
    Tree,
    bbox,
    coco_2017,
    cvat,
    cvat_with_subsets,
    fiftyone,
    label_studio,
    roboflow,
    save,
)


def labels_by_pixels(listing: Listing) -> dict[str, list[int]]:
    """For each image the labels whose colour is at the position of their object."""
    visible = {}
    for samples in listing.splits.values():
        for sample in samples:
            with layouts.Image.open(sample.file) as image:
                pixels = image.convert("RGB")
                labels = []
                for label, colour in enumerate(layouts.COLOURS):
                    x0, y0, _, y1 = layouts.CORNERS[label]
                    middle = pixels.getpixel((x0 + 3, (y0 + y1) // 2 if label < 2 else y1 - 3))
                    if max(abs(a - b) for a, b in zip(middle, colour, strict=True)) < 60:
                        labels.append(label)
            visible[sample.name] = labels
    return visible


@pytest.mark.parametrize("export", EXPORTS, ids=lambda export: export.__name__)
def test_an_export_has_the_labels_that_its_images_show(export: Callable[[Path], None], tmp_path: Path) -> None:
    export(tmp_path)
    listing = Coco(root=tmp_path, val_share=0.3).read(tmp_path, silent)
    assert listing.labels.names == NAMES
    samples = [sample for samples in listing.splits.values() for sample in samples]
    assert len({sample.file for sample in samples}) == len(samples) == COUNT
    assert not listing.skipped
    visible = labels_by_pixels(listing)
    for sample in samples:
        assert list(sample.positives) == visible[sample.name]
        assert sorted(box.label for box in sample.boxes) == visible[sample.name]
    whole = [(box.x0, box.y0, box.x1, box.y1) for sample in samples for box in sample.boxes if box.label == 0]
    assert set(whole) == {(0.0, 0.0, 0.5, 1.0)}
    prepare(Coco(root=tmp_path, val_share=0.3), tmp_path / "out", (16,))
    about = json.loads((tmp_path / "out/about.json").read_text())
    counts = [sum(label in labels for labels in visible.values()) for label in range(3)]
    assert {name: counts["source"] for name, counts in about["labels"].items()} == dict(zip(NAMES, counts, strict=True))
    assert all(item["kept"] == item["source"] and not item["dropped"] for item in about["labels"].values())


@pytest.mark.parametrize(
    ("export", "test"), [(cvat_with_subsets, 5), (roboflow, 5), (coco_2017, 10)], ids=["CVAT", "Roboflow", "COCO 2017"]
)
def test_splits_of_an_export_are_used(export: Callable[[Path], None], test: int, tmp_path: Path) -> None:
    export(tmp_path)
    splits = Coco(root=tmp_path, val_share=0.3).read(tmp_path, silent).splits
    numbers = {split: sorted(labels for sample in splits[split] for labels in [sample.positives]) for split in splits}
    assert len(splits["test"]) == test
    expected = sorted(tuple(layouts.labels_of(number)) for number in range(COUNT - test, COUNT))
    assert numbers["test"] == expected


def test_a_category_that_groups_others_is_reported(tmp_path: Path) -> None:
    roboflow(tmp_path)
    (finding,) = Coco(root=tmp_path).read(tmp_path, silent).findings
    assert finding.numbers == "things."


def test_recipe_keys_name_annotations_and_images(tmp_path: Path) -> None:
    fiftyone(tmp_path)
    (tmp_path / "labels.json").rename(tmp_path / "mine.json")
    with pytest.raises(ValueError, match=r"expected one of these in .*got none; name the annotation files yourself"):
        Coco(root=tmp_path).read(tmp_path, silent)
    part = CocoPart(annotations="mine.json", images="data")
    assert len(Coco(root=tmp_path, train=part).read(tmp_path, silent).splits["train"]) > 10
    with pytest.raises(ValueError, match=r"expected .*/photos, got none; correct data.train"):
        Coco(root=tmp_path, train=CocoPart(annotations="mine.json", images="photos")).read(tmp_path, silent)
    with pytest.raises(ValueError, match="train: expected an annotation file where val or test has one"):
        Coco(root=tmp_path, test=part)
    with pytest.raises(ValueError, match="test: expected an annotation file where val has one"):
        Coco(root=tmp_path, train=part, val=part)
    for path in ("/etc/x.json", "../x.json", ""):
        with pytest.raises(ValueError, match="annotations: expected a path below the root"):
            CocoPart(annotations=path)


def test_several_exports_in_one_folder_are_refused(tmp_path: Path) -> None:
    fiftyone(tmp_path)
    label_studio(tmp_path)
    with pytest.raises(ValueError, match=r"got labels.json, result.json; name"):
        Coco(root=tmp_path).read(tmp_path, silent)


def changed(root: Path, change: Callable[[Tree], None]) -> Coco:
    """An export of FiftyOne with a change."""
    fiftyone(root)
    content = json.loads((root / "labels.json").read_text())
    change(content)
    save(root / "labels.json", content)
    return Coco(root=root)


def ids_as_text(content: Tree) -> None:
    for annotation in content["annotations"][:7]:
        annotation["image_id"] = str(annotation["image_id"])


def unknown_ids(content: Tree) -> None:
    for annotation in content["annotations"][:2]:
        annotation["image_id"] = 5_000


def another_entry(content: Tree) -> None:
    content["images"].append(content["images"][7] | {"id": 900})  # number 7 has all labels; the second entry has none


def one_id_for_two_files(content: Tree) -> None:
    content["images"][3]["id"] = content["images"][7]["id"]


def two_categories_of_one_name(content: Tree) -> None:
    content["categories"].append({"id": 77, "name": "car"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ids_as_text,
            r"labels.json: .* got 7 of 43 annotations whose image_id is not in images "
            r"\(7 of them as str, where images has int\): '2' in annotation 1, .* and 2 more; their labels would be",
        ),
        (unknown_ids, r"got 2 of 43 annotations whose image_id is not in images: 5000 in annotation 1"),
        (
            another_entry,
            r"got 1 files in several entries with different labels: 000007.jpg "
            r"\(id 8: car, dog, person; id 900: no label\); if they are different images, add their folders",
        ),
        (one_id_for_two_files, r"expected every id of images once, got 8 for .*000003.jpg.* and for .*000007.jpg"),
        (two_categories_of_one_name, r"expected every category once, got car under several ids; merge them"),
    ],
)
def test_faults_that_lose_labels_are_refused(change: Callable[[Tree], None], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        changed(tmp_path, change).read(tmp_path, silent)


def test_an_entry_repeated_with_its_labels_is_one_image(tmp_path: Path) -> None:
    def repeat(content: Tree) -> None:
        content["images"].append(content["images"][7] | {"id": 900})
        content["annotations"] += [
            {"id": 901 + label, "image_id": 900, "category_id": label, "bbox": bbox(label)} for label in range(3)
        ]

    prepare(changed(tmp_path, repeat), tmp_path / "out", (16,))
    about = json.loads((tmp_path / "out/about.json").read_text())
    assert sum(about["counts"].values()) == COUNT
    assert about["labels"]["dog"] == {"source": 15, "kept": 14, "dropped": {"repeated entry": 1}}


def test_an_annotation_without_a_valid_box_counts_as_label(tmp_path: Path) -> None:
    def without(content: Tree) -> None:
        for number, annotation in enumerate(content["annotations"]):
            annotation["bbox"] = [None, [], [1, 2], [0, 0, float("nan"), 3], "box"][number % 5]

    listing = changed(tmp_path, without).read(tmp_path, silent)
    samples = [sample for samples in listing.splits.values() for sample in samples]
    visible = labels_by_pixels(listing)
    assert all(list(sample.positives) == visible[sample.name] and not sample.boxes for sample in samples)
    (finding,) = listing.findings
    assert finding.numbers.startswith("labels.json: 25 boxes, of annotations 3, 4, 5, 8, 9 and 20 more.")


def test_images_without_annotations_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        prepare(changed(tmp_path, lambda _: None), tmp_path / "out", (16,))
    message = "data: Many images have no label. 4 of 30 (13%). They count as negative for each label."
    assert message in caplog.messages


def test_folders_that_tell_images_apart_are_not_dropped(tmp_path: Path) -> None:
    """Without the folders of the two cameras, the only f1.jpg may be of either camera."""
    cvat(tmp_path)
    for file in sorted((tmp_path / "images/default").rglob("*.jpg")):
        file.rename(tmp_path / "images" / file.name)
    listing = Coco(root=tmp_path).read(tmp_path, silent)
    assert not any(listing.splits.values())
    assert len(listing.skipped) == COUNT


def test_labels_of_missing_images_are_counted(tmp_path: Path) -> None:
    source = changed(tmp_path, lambda _: None)
    for number in (1, 3, 8):
        (tmp_path / f"data/{number:06d}.jpg").unlink()
    (tmp_path / "data/000005.jpg").write_bytes(b"no image")
    prepare(source, tmp_path / "out", (16,))
    about = json.loads((tmp_path / "out/about.json").read_text())
    assert about["labels"] == {
        "person": {"source": 15, "kept": 12, "dropped": {"missing file": 2, "unreadable image": 1}},
        "car": {"source": 14, "kept": 13, "dropped": {"missing file": 1}},
        "dog": {"source": 14, "kept": 13, "dropped": {"unreadable image": 1}},
    }
    assert about["left_out"] == {"missing file": 3, "unreadable image": 1}
