"""Sets in COCO's form as labelling tools export them, and what is wrong in annotation files that people bring."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlkd.core.progress import silent
from mlkd.data import Coco, prepare
from mlkd.data.base import Listing
from mlkd.data.sources.coco_layout import CocoPart
from tests.helpers import layouts

NAMES = ("person", "car", "dog")
COUNT = 30
Tree = dict[str, Any]


def bbox(label: int) -> list[float]:
    x0, y0, x1, y1 = layouts.CORNERS[label]
    return [x0, y0, x1 - x0, y1 - y0]


def tree(numbers: range, name: Callable[[int], str], *, first_id: int = 1, first_category: int = 1) -> Tree:
    """Images and annotations of drawings; their names are `name(number)`."""
    images = [
        {"id": first_id + at, "width": layouts.WIDTH, "height": layouts.HEIGHT, "file_name": name(number)}
        for at, number in enumerate(numbers)
    ]
    annotations = [
        {"image_id": first_id + at, "category_id": first_category + label, "bbox": bbox(label), "iscrowd": 0}
        for at, number in enumerate(numbers)
        for label in layouts.labels_of(number)
    ]
    for number, annotation in enumerate(annotations):
        annotation["id"] = number + 1
    categories = [{"id": first_category + label, "name": name} for label, name in enumerate(NAMES)]
    return {"images": images, "annotations": annotations, "categories": categories}


def save(file: Path, content: Tree) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8")


def cvat(root: Path) -> None:
    """COCO 1.0: one file a subset; two cameras have frames of the same name in folders of their own."""

    def name(number: int) -> str:
        return f"cam{number % 2}/f{number // 2}.jpg"

    for number in range(COUNT):
        layouts.draw(root / "images/default" / name(number), number)
    content = tree(range(COUNT), name)
    for image in content["images"]:
        image |= {"license": 0, "flickr_url": "", "coco_url": "", "date_captured": 0}
    for annotation in content["annotations"]:
        annotation |= {"segmentation": [], "area": 1.0, "attributes": {"occluded": False}}
    for category in content["categories"]:
        category["supercategory"] = ""
    save(root / "annotations/instances_default.json", content | {"licenses": [{"name": "", "id": 0, "url": ""}]})


def cvat_with_subsets(root: Path) -> None:
    """Subsets of a project, whose frames have the same names in each."""
    for part, numbers in (("Train", range(20)), ("Validation", range(20, 25)), ("Test", range(25, COUNT))):
        for at, number in enumerate(numbers):
            layouts.draw(root / "images" / part / f"frame_{at:06d}.jpg", number)
        start = numbers.start
        save(root / f"annotations/instances_{part}.json", tree(numbers, lambda n, s=start: f"frame_{n - s:06d}.jpg"))


def label_studio(root: Path) -> None:
    """Ids from 0, and paths that lead from the server's folder; the images lie flat."""
    for number in range(COUNT):
        layouts.draw(root / f"images/a1b2-{number}.jpg", number)
    content = tree(range(COUNT), lambda number: f"../media/upload/3/a1b2-{number}.jpg", first_id=0, first_category=0)
    content["images"][8] |= {"width": None, "height": None}  # without annotations
    for annotation in content["annotations"]:
        annotation |= {"segmentation": [], "ignore": 0, "area": 1.0}
    save(root / "result.json", content | {"info": {"version": "1.0", "contributor": "Label Studio"}})


def label_studio_on_windows(root: Path) -> None:
    for number in range(COUNT):
        layouts.draw(root / f"images/a1b2-{number}.jpg", number)
    save(root / "result.json", tree(range(COUNT), lambda number: f"images\\a1b2-{number}.jpg", first_id=0))


def fiftyone(root: Path) -> None:
    """Images in data, nothing else in the names; no supercategories."""
    for number in range(COUNT):
        layouts.draw(root / f"data/{number:06d}.jpg", number)
    content = tree(range(COUNT), lambda number: f"{number:06d}.jpg", first_category=0)
    for image in content["images"]:
        image |= {"license": None, "coco_url": None}
    for category in content["categories"]:
        category["supercategory"] = None
    save(root / "labels.json", {"info": {}, "licenses": []} | content)


def roboflow(root: Path) -> None:
    """A file beside the images of each split, with a category that groups all others."""
    for part, numbers in (("train", range(20)), ("valid", range(20, 25)), ("test", range(25, COUNT))):
        for number in numbers:
            layouts.draw(root / part / f"{number}_jpg.rf.0a1b.jpg", number)
        content = tree(numbers, lambda number: f"{number}_jpg.rf.0a1b.jpg", first_id=0)
        for category in content["categories"]:
            category["supercategory"] = "things"
        content["categories"].insert(0, {"id": 0, "name": "things", "supercategory": "none"})
        save(root / part / "_annotations.coco.json", content)


def coco_2017(root: Path) -> None:
    for part, numbers in (("train", range(20)), ("val", range(20, COUNT))):
        for number in numbers:
            layouts.draw(root / f"{part}2017/{number:012d}.jpg", number)
        content = tree(numbers, lambda number: f"{number:012d}.jpg")
        save(root / f"annotations/instances_{part}2017.json", content)


def labels_by_pixels(listing: Listing) -> dict[str, list[int]]:
    """For each image the labels whose colour is where their object is drawn: what the file itself shows."""
    seen = {}
    for samples in listing.splits.values():
        for sample in samples:
            with layouts.Image.open(sample.file) as image:
                pixels = image.convert("RGB")
                found = []
                for label, colour in enumerate(layouts.COLOURS):
                    x0, y0, _, y1 = layouts.CORNERS[label]
                    middle = pixels.getpixel((x0 + 3, (y0 + y1) // 2 if label < 2 else y1 - 3))
                    if max(abs(a - b) for a, b in zip(middle, colour, strict=True)) < 60:
                        found.append(label)
            seen[sample.name] = found
    return seen


EXPORTS = (cvat, cvat_with_subsets, label_studio, label_studio_on_windows, fiftyone, roboflow, coco_2017)


@pytest.mark.parametrize("export", EXPORTS, ids=lambda export: export.__name__)
def test_an_export_is_read_as_its_images_show(export: Callable[[Path], None], tmp_path: Path) -> None:
    export(tmp_path)
    listing = Coco(root=tmp_path, val_share=0.3).read(tmp_path, silent)
    assert listing.labels.names == NAMES
    samples = [sample for samples in listing.splits.values() for sample in samples]
    assert len({sample.file for sample in samples}) == len(samples) == COUNT
    assert not listing.skipped
    seen = labels_by_pixels(listing)
    for sample in samples:
        assert list(sample.positives) == seen[sample.name]
        assert sorted(box.label for box in sample.boxes) == seen[sample.name]
    whole = [(box.x0, box.y0, box.x1, box.y1) for sample in samples for box in sample.boxes if box.label == 0]
    assert set(whole) == {(0.0, 0.0, 0.5, 1.0)}
    prepare(Coco(root=tmp_path, val_share=0.3), tmp_path / "out", (16,))
    about = json.loads((tmp_path / "out/about.json").read_text())
    counts = [sum(label in labels for labels in seen.values()) for label in range(3)]
    assert {name: one["source"] for name, one in about["labels"].items()} == dict(zip(NAMES, counts, strict=True))
    assert all(one["kept"] == one["source"] and not one["dropped"] for one in about["labels"].values())


@pytest.mark.parametrize(
    ("export", "test"), [(cvat_with_subsets, 5), (roboflow, 5), (coco_2017, 10)], ids=["CVAT", "Roboflow", "COCO 2017"]
)
def test_splits_of_an_export_stay(export: Callable[[Path], None], test: int, tmp_path: Path) -> None:
    export(tmp_path)
    splits = Coco(root=tmp_path, val_share=0.3).read(tmp_path, silent).splits
    numbers = {split: sorted(labels for sample in splits[split] for labels in [sample.positives]) for split in splits}
    assert len(splits["test"]) == test
    expected = sorted(tuple(layouts.labels_of(number)) for number in range(COUNT - test, COUNT))
    assert numbers["test"] == expected


def test_the_category_of_roboflow_that_groups_is_named(tmp_path: Path) -> None:
    roboflow(tmp_path)
    (finding,) = Coco(root=tmp_path).read(tmp_path, silent).findings
    assert finding.numbers == "things."


def test_keys_name_annotations_and_images(tmp_path: Path) -> None:
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


def test_several_exports_in_one_folder_are_a_question(tmp_path: Path) -> None:
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
            r"labels.json: .* got 7 of 43 annotations whose image_id names nothing in images "
            r"\(7 of them as str, where images has int\): '2' in annotation 1, .* and 2 more; their labels would be",
        ),
        (unknown_ids, r"got 2 of 43 annotations whose image_id names nothing in images: 5000 in annotation 1"),
        (
            another_entry,
            r"got 1 files in several entries with different labels: 000007.jpg "
            r"\(id 8: car, dog, person; id 900: no label\); if they are different images, write their folders into",
        ),
        (one_id_for_two_files, r"expected every id of images once, got 8 for .*000003.jpg.* and for .*000007.jpg"),
        (two_categories_of_one_name, r"expected every category once, got car under several ids; merge them"),
    ],
)
def test_labels_that_would_be_lost_are_an_error(change: Callable[[Tree], None], message: str, tmp_path: Path) -> None:
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


def test_a_tag_needs_no_box(tmp_path: Path) -> None:
    def without(content: Tree) -> None:
        for number, annotation in enumerate(content["annotations"]):
            annotation["bbox"] = [None, [], [1, 2], [0, 0, float("nan"), 3], "box"][number % 5]

    listing = changed(tmp_path, without).read(tmp_path, silent)
    samples = [sample for samples in listing.splits.values() for sample in samples]
    seen = labels_by_pixels(listing)
    assert all(list(sample.positives) == seen[sample.name] and not sample.boxes for sample in samples)
    (finding,) = listing.findings
    assert finding.numbers.startswith("labels.json: 25 boxes, of annotations 3, 4, 5, 8, 9 and 20 more.")


def test_images_without_annotations_are_counted_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        prepare(changed(tmp_path, lambda _: None), tmp_path / "out", (16,))
    told = "data: Many images have no label. 4 of 30 (13%). They count as negative for each label."
    assert told in caplog.messages
    findings = json.loads((tmp_path / "out/about.json").read_text())["findings"]
    assert [one["claim"] for one in findings] == ["Many images have no label."]


def test_folders_that_would_fall_together_are_not_dropped(tmp_path: Path) -> None:
    """Names of two cameras whose folders are not there: the one f1.jpg that lies there may be either's."""
    cvat(tmp_path)
    for file in sorted((tmp_path / "images/default").rglob("*.jpg")):
        file.rename(tmp_path / "images" / file.name)
    listing = Coco(root=tmp_path).read(tmp_path, silent)
    assert not any(listing.splits.values())
    assert len(listing.skipped) == COUNT


def test_missing_images_keep_their_labels_in_the_count(tmp_path: Path) -> None:
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
