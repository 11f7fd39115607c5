"""Published data sets in miniature, as real image files in their official layouts, and a folder in every form.

Image number n has the labels whose bit is set in n: one in eight is empty, every label is in half of them.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

TRAIN, TEST = range(14), range(14, 21)
FORMS: tuple[Literal["tags", "columns", "one_hot", "jsonl"], ...] = ("tags", "columns", "one_hot", "jsonl")
VOC_NAMES = ("bird", "cat", "person")
COCO_CATEGORIES = {18: "dog", 1: "person", 3: "car"}  # as in the file, whose order is not that of the ids
CONCEPTS = ("airport", "beach", "clouds")
TAGS = ("cat", "owl", "red dog")
COLOURS = ((230, 40, 40), (40, 230, 40), (40, 40, 230))
WIDTH, HEIGHT = 48, 32
CORNERS = ((0, 0, 24, 32), (24, 0, 42, 16), (30, 20, 42, 28))  # x0, y0, x1, y1 of each label's object, ever smaller

OBJECT = (
    "<object><name>{0}</name><difficult>{1}</difficult>"
    "<bndbox><xmin>{2}</xmin><ymin>{3}</ymin><xmax>{4}</xmax><ymax>{5}</ymax></bndbox></object>"
)


def labels_of(number: int) -> list[int]:
    """The labels of an image."""
    return [label for label in range(3) if number >> label & 1]


def draw(file: Path, number: int) -> None:
    """Noise with a rectangle of its label's colour for every object; the suffix says in which format."""
    pixels = np.random.default_rng(number).integers(80, 150, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    for label in labels_of(number):
        x0, y0, x1, y1 = CORNERS[label]
        pixels[y0:y1, x0:x1] = COLOURS[label]
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file, **({"quality": 95} if file.suffix == ".jpg" else {}))


def write(file: Path, lines: Sequence[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def voc(root: Path) -> Path:
    """root/VOCdevkit/VOC2007; returns root."""
    year = root / "VOCdevkit" / "VOC2007"
    for part, numbers in (("trainval", TRAIN), ("test", TEST)):
        write(year / "ImageSets/Main" / f"{part}.txt", [f"{number:06d}" for number in numbers])
        for number in numbers:
            draw(year / "JPEGImages" / f"{number:06d}.jpg", number)
            objects = []
            for label in labels_of(number):
                x0, y0, x1, y1 = CORNERS[label]
                objects.append(OBJECT.format(VOC_NAMES[label], 0, x0 + 1, y0 + 1, x1, y1))
            size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>"
            write(year / "Annotations" / f"{number:06d}.xml", [f"<annotation>{size}{''.join(objects)}</annotation>"])
    return root


def coco(root: Path) -> Path:
    """root/annotations, root/train2014 and root/val2014; returns root."""
    ids = sorted(COCO_CATEGORIES)
    for part, numbers in (("train2014", TRAIN), ("val2014", TEST)):
        tree: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": []}
        for number in numbers:
            name = f"COCO_{part}_{number:012d}.jpg"
            draw(root / part / name, number)
            tree["images"].append({"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT})
            for label in labels_of(number):
                x0, y0, x1, y1 = CORNERS[label]
                one = {"image_id": number, "category_id": ids[label], "bbox": [x0, y0, x1 - x0, y1 - y0], "iscrowd": 0}
                tree["annotations"].append({**one, "id": 10 * number + label, "segmentation": [[x0, y0, x1, y1]]})
        tree["categories"] = [{"id": key, "name": name} for key, name in COCO_CATEGORIES.items()]
        write(root / "annotations" / f"instances_{part}.json", [json.dumps(tree)])
    return root


def nuswide(root: Path) -> Path:
    """root/ImageList, ConceptsList, TrainTestLabels and Flickr; returns root."""
    write(root / "ConceptsList/Concepts81.txt", CONCEPTS)
    total = []
    for part, numbers in (("Train", TRAIN), ("Test", TEST)):
        lines = [f"{CONCEPTS[number % 3]}\\{number:04d}_21244{number}.jpg" for number in numbers]
        write(root / "ImageList" / f"{part}Imagelist.txt", lines)
        total += lines
        for number, line in zip(numbers, lines, strict=True):
            draw(root / "Flickr" / line.replace("\\", "/"), number)
        for label, concept in enumerate(CONCEPTS):
            values = [str(int(label in labels_of(number))) for number in numbers]
            write(root / "TrainTestLabels" / f"Labels_{concept}_{part}.txt", values)
    write(root / "ImageList/Imagelist.txt", sorted(total))
    return root


def folder(root: Path, form: Literal["tags", "columns", "one_hot", "jsonl"], count: int = 20) -> Path:
    """root/images/*.png and root/tags.csv (tags.jsonl for form jsonl), without splits; returns root."""
    files = {number: f"images/{number}.png" for number in range(count)}
    for number, file in files.items():
        draw(root / file, number)
    names = {number: [TAGS[label] for label in labels_of(number)] for number in files}
    if form == "jsonl":
        lines = [json.dumps({"file": file, "tags": names[number]}) for number, file in files.items()]
        write(root / "tags.jsonl", lines)
        return root
    header = {"tags": "file,tags", "columns": "file,tag1,tag2,tag3", "one_hot": f"file,{','.join(TAGS)}"}[form]
    lines = [header]
    for number, file in files.items():
        cells = {
            "tags": ["; ".join(names[number])],
            "columns": [*names[number], "", "", ""][:3],
            "one_hot": [str(int(tag in names[number])) for tag in TAGS],
        }[form]
        lines.append(",".join([file, *cells]))
    write(root / "tags.csv", lines)
    return root
