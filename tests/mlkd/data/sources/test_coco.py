import json
import logging
from pathlib import Path
from typing import Any

import pytest

from mlkd.core.progress import silent
from mlkd.data import Coco
from mlkd.data.preparation import prepare
from tests.helpers import layouts


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return layouts.coco(tmp_path)


def changed(root: Path, part: str, **keys: Any) -> None:
    file = root / "annotations" / f"instances_{part}.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | keys))


def test_official_layout(root: Path) -> None:
    listing = Coco(root=root).read(root, silent)
    assert listing.labels.names == ("person", "car", "dog")  # by id, not as in the file
    assert listing.published
    names = {split: [sample.name for sample in samples] for split, samples in listing.splits.items()}
    assert names["test"] == [f"COCO_val2014_{number:012d}" for number in layouts.TEST]
    assert sorted(names["train"] + names["val"]) == [f"COCO_train2014_{number:012d}" for number in layouts.TRAIN]
    assert 2 <= len(names["val"]) < len(names["train"])
    for samples in listing.splits.values():
        for sample in samples:
            assert list(sample.positives) == layouts.labels_of(int(sample.name[-12:]))
    full = next(sample for sample in listing.splits["test"] if sample.name.endswith("15"))
    assert [(box.label, box.role) for box in full.boxes] == [(0, "major"), (1, "minor"), (2, "minor")]
    first = full.boxes[1]
    assert (first.x0, first.y0, first.x1, first.y1) == (0.5, 0.0, 0.875, 0.5)


def test_crowds_are_positive(root: Path) -> None:
    crowd = {"id": 1, "image_id": 16, "category_id": 3, "bbox": [0, 0, 8, 8], "iscrowd": 1, "segmentation": {}}
    changed(root, "val2014", annotations=[crowd])
    test = Coco(root=root).read(root, silent).splits["test"]
    assert test[2].positives == (1,)
    assert test[0].positives == ()


def test_counts_are_compared_with_the_published_ones(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "train2014/COCO_train2014_000000000003.jpg").unlink()
    with caplog.at_level(logging.WARNING):
        prepare(Coco(root=root), root / "out", (16,))
    assert "COCO 2014: expected 82783 images in train2014 as published, got 13: 82770 missing" in caplog.messages
    assert sum(message.startswith("COCO 2014: expected") for message in caplog.messages) == 5
    about = json.loads((root / "out/about.json").read_text())
    assert about["expected"]["images with objects in val2014"] == 40_137
    assert about["found"] == {
        "images in train2014": 13,
        "images with objects in train2014": 11,
        "images in val2014": 7,
        "images with objects in val2014": 6,
        "labels with images": 3,
    }
    assert list(json.loads((root / "out/skipped.json").read_text())) == ["COCO_train2014_000000000003"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"categories": [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}, {"id": 18, "name": "owl"}]},
            r"instances_val2014.json: expected the categories of instances_train2014.json, got others: dog, owl in",
        ),
        (
            {"annotations": [{"id": 7, "image_id": 14, "category_id": 99, "bbox": [0, 0, 1, 1]}]},
            r"an id of categories in category_id, got 1 of 1 annotations whose .* is not in .*: 99 in annotation 7",
        ),
        ({"images": 7}, "expected COCO's categories, images and annotations as lists, got 7 for images"),
        ({"annotations": ["box"]}, "as objects, got 'box' at position 0 of annotations"),
        (
            {"annotations": [{}]},
            r"instances_val2014.json: expected an id of images in image_id, got 1 of 1 annotations",
        ),
        ({"images": [{"id": 1}], "annotations": []}, "expected a file_name in image 1, got nothing"),
        ({"images": [{"file_name": "x.jpg"}]}, "expected a number or text as id at position 0 of images, got nothing"),
    ],
)
def test_errors_name_the_file_and_the_entry(keys: dict[str, Any], message: str, root: Path) -> None:
    changed(root, "val2014", **keys)
    with pytest.raises(ValueError, match=message):
        Coco(root=root).read(root, silent)


def test_errors_name_a_missing_file(root: Path) -> None:
    (root / "annotations/instances_val2014.json").write_text("{")
    with pytest.raises(
        ValueError,
        match=r"instances_val2014.json: expected COCO's categories, .* got no JSON: Expecting value at character 1",
    ):
        Coco(root=root).read(root, silent)
    (root / "annotations/instances_val2014.json").unlink()
    with pytest.raises(ValueError, match=r"root: expected .*instances_val2014.json, got none; unpack"):
        Coco(root=root).read(root, silent)
