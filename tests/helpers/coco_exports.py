"""Data sets of thirty drawings as labelling tools export them in COCO's format."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


EXPORTS = (cvat, cvat_with_subsets, label_studio, label_studio_on_windows, fiftyone, roboflow, coco_2017)
