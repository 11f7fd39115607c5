"""Reads and checks one annotation file in COCO's format: its images and the objects of each."""

from __future__ import annotations

import json
import math
import posixpath
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from mlkd.core.labels import fault_of
from mlkd.core.printable import is_utf8
from mlkd.data.base import Corners, Finding, join_names

Row = dict[str, Any]
SHOWN = 5  # examples in a message


@dataclass(frozen=True)
class CocoImage:
    """One entry of `images`; labels and boxes have names of categories, boxes their area and corners."""

    id: int | str
    path: str
    labels: frozenset[str]
    boxes: tuple[tuple[float, str, Corners], ...]


@dataclass(frozen=True)
class CocoFile:
    """The content of an annotation file."""

    file: Path
    categories: tuple[str, ...]  # in the order of their ids
    parents: frozenset[str]  # categories that others name as their supercategory
    images: tuple[CocoImage, ...]
    counts: Counter[str]  # images of each category, counted from the annotations alone
    findings: tuple[Finding, ...]


def read_coco_file(file: Path) -> CocoFile:
    """Read and check a file.

    Raises ValueError for another format, an annotation without image or category, and repeated ids.
    """
    categories, images, annotations = _rows(file)
    names = _names(file, categories)
    by_id = _by_id(file, "images", images)
    for key, row in by_id.items():
        if not _is_text(row.get("file_name")):
            raise ValueError(f"{file}: expected a file_name in image {key!r}, got {_short(row.get('file_name'))}")
    _refuse_unknown(file, "image_id", "images", annotations, by_id)
    _refuse_unknown(file, "category_id", "categories", annotations, names)
    of_image: defaultdict[int | str, list[Row]] = defaultdict(list)
    for annotation in annotations:
        of_image[annotation["image_id"]].append(annotation)
    without_size: list[str] = []
    entries = tuple(_image(key, row, of_image.get(key, []), names, without_size) for key, row in by_id.items())
    pairs = {(annotation["image_id"], names[annotation["category_id"]]) for annotation in annotations}
    grouped = [row for row in categories if _is_text(row.get("supercategory"))]
    parents = frozenset(row["supercategory"] for row in grouped if row["supercategory"] != row["name"])
    return CocoFile(
        file,
        tuple(names[key] for key in sorted(names, key=lambda key: (isinstance(key, str), key))),
        parents,
        entries,
        Counter(name for _, name in pairs),
        _box_findings(file, without_size),
    )


def _rows(file: Path) -> tuple[list[Row], list[Row], list[Row]]:
    """Categories, images and annotations, without the segmentations, which are most of the file."""
    expected = f"{file}: expected COCO's categories, images and annotations"
    try:
        tree = json.loads(file.read_bytes(), object_hook=_without_segmentation)
    except (ValueError, RecursionError) as cause:
        raise ValueError(f"{expected}, got {type(cause).__name__}: {cause}; export it again") from None
    lists = []
    for key in ("categories", "images", "annotations"):
        rows = tree.get(key) if isinstance(tree, dict) else None
        if not isinstance(rows, list):
            raise ValueError(f"{expected} as lists, got {_short(rows)} for {key}; name the right file")
        wrong = next((number for number, row in enumerate(rows) if not isinstance(row, dict)), None)
        if wrong is not None:
            raise ValueError(f"{expected} as objects, got {_short(rows[wrong])} at position {wrong} of {key}")
        lists.append(rows)
    return lists[0], lists[1], lists[2]


def _names(file: Path, categories: Sequence[Row]) -> dict[int | str, str]:
    names = {}
    for key, row in _by_id(file, "categories", categories).items():
        name = row.get("name")
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"{file}: expected a name in category {key!r}, got {_short(name)}")
        if fault := fault_of(name.strip()):
            raise ValueError(f"{file}: expected a name on one line in category {key!r}, got {fault}; rename it")
        names[key] = name.strip()
    twice = [name for name, count in Counter(names.values()).items() if count > 1]
    if twice:
        listed = join_names(twice, SHOWN)
        raise ValueError(f"{file}: expected every category once, got {listed} under several ids; merge them")
    return names


def _by_id(file: Path, what: str, rows: Sequence[Row]) -> dict[int | str, Row]:
    by_id: dict[int | str, Row] = {}
    for number, row in enumerate(rows):
        key = row.get("id")
        if not _is_id(key):
            raise ValueError(
                f"{file}: expected a number or text as id at position {number} of {what}, got {_short(key)}"
            )
        if by_id.setdefault(key, row) is not row and by_id[key] != row:
            raise ValueError(
                f"{file}: expected every id of {what} once, got {key!r} for {_short(by_id[key])} and for "
                f"{_short(row)}; annotations with this id belong to both: export the file again"
            )
    return by_id


def _refuse_unknown(file: Path, key: str, what: str, annotations: Sequence[Row], known: dict[int | str, Any]) -> None:
    """Refuse annotations whose id is missing in the file: their labels would be lost."""
    wrong = [row for row in annotations if not _is_id(row.get(key)) or row[key] not in known]
    if not wrong:
        return
    other = [row for row in wrong if _is_id(row.get(key)) and _other_type(row[key]) in known]
    listed = join_names([f"{row.get(key)!r} in annotation {row.get('id')!r}" for row in wrong], SHOWN)
    cause = f"is not in {what}"
    if other:
        types = " and ".join(sorted({type(each).__name__ for each in known}))
        cause += f" ({len(other)} of them as {type(other[0][key]).__name__}, where {what} has {types})"
    raise ValueError(
        f"{file}: expected an id of {what} in {key}, got {len(wrong)} of {len(annotations)} annotations whose {key} "
        f"{cause}: {listed}; their labels would be lost: correct the ids, or remove these annotations"
    )


def _other_type(key: int | str) -> int | str | None:
    if isinstance(key, str):
        return int(key) if key.isascii() and key.isdigit() and len(key) < 20 else None
    return str(key)


def _image(
    key: int | str, row: Row, annotations: Sequence[Row], names: dict[int | str, str], without_size: list[str]
) -> CocoImage:
    boxes = []
    for annotation in annotations:
        if annotation.get("bbox") in (None, []):
            continue  # an image tag has no box
        corners = _corners(annotation["bbox"], row.get("width"), row.get("height"))
        if corners is None:
            without_size.append(repr(annotation.get("id")))
        else:
            boxes.append((*corners[:1], names[annotation["category_id"]], corners[1]))
    labels = frozenset(names[annotation["category_id"]] for annotation in annotations)
    return CocoImage(key, row["file_name"].replace("\\", "/"), labels, tuple(boxes))


def _corners(box: Any, width: Any, height: Any) -> tuple[float, Corners] | None:
    """Area in pixels, and corners as fractions of the image; None for an invalid box or size."""
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, [*box, width, height])):
        return None
    x, y, across, down = box
    if width <= 0 or height <= 0 or across < 0 or down < 0:
        return None
    return across * down, (x / width, y / height, (x + across) / width, (y + down) / height)


def _box_findings(file: Path, without_size: Sequence[str]) -> tuple[Finding, ...]:
    claim = "Some boxes are not x, y, width, height within an image of known size."
    listed = f"{len(without_size)} boxes, of annotations {join_names(without_size, SHOWN)}"
    return (Finding(claim, f"{file.name}: {listed}. Their labels count."),) if without_size else ()


def parts_of_path(path: str) -> tuple[str, ...]:
    """Split a path into folders and name, without a drive, the root and dots."""
    parts = [part for part in posixpath.normpath(path).split("/") if part not in ("", ".", "..")]
    return tuple(part for number, part in enumerate(parts) if number or not part.endswith(":"))


def _is_id(value: Any) -> TypeGuard[int | str]:
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and abs(value) < 1e9 and math.isfinite(value)


def _is_text(value: Any) -> TypeGuard[str]:
    """Whether it is text that a file name and a JSON file in UTF-8 can hold."""
    return isinstance(value, str) and bool(value) and "\0" not in value and is_utf8(value)


def _short(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 80 else text[:79] + "…"


def _without_segmentation(tree: Row) -> Row:
    tree.pop("segmentation", None)
    return tree
