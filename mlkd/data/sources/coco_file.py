"""Reads and checks one annotation file in COCO's format: its images and the objects of each."""

from __future__ import annotations

import posixpath
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

from mlkd.core.labels import fault_of
from mlkd.core.printable import is_utf8
from mlkd.data.base import Corners, Finding, join_names
from mlkd.data.sources.coco_annotations import Annotations, is_id
from mlkd.data.sources.json_stream import list_items

Row = dict[str, Any]
T = TypeVar("T")
SHOWN = 5  # examples in a message
USED = {"categories": ("id", "name", "supercategory"), "images": ("id", "file_name", "width", "height")}


@dataclass(frozen=True)
class CocoImage:
    """One entry of `images`; labels are names of categories, annotations are indices."""

    id: int | str
    path: str
    size: tuple[Any, Any]  # width and height
    labels: frozenset[str]
    annotations: Sequence[int]


@dataclass(frozen=True)
class CocoFile:
    """The content of an annotation file."""

    file: Path
    categories: tuple[str, ...]  # in the order of their ids
    parents: frozenset[str]  # categories that others name as their supercategory
    images: tuple[CocoImage, ...]
    counts: Counter[str]  # images of each category, counted from the annotations alone
    findings: tuple[Finding, ...]
    annotations: Annotations
    names: dict[int | str, str]  # of the categories by id

    def boxes(self, image: CocoImage) -> Iterator[tuple[float, str, Corners]]:
        """Area in pixels, category and corners of the valid boxes of an image."""
        for index in image.annotations:
            if (found := self.annotations.corners(index, *image.size)) is not None:
                yield found[0], self.names[self.annotations.categories[index]], found[1]


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
    _refuse_unknown(file, ("image_id", "images"), annotations.images, annotations.ids, by_id)
    _refuse_unknown(file, ("category_id", "categories"), annotations.categories, annotations.ids, names)
    of_image: defaultdict[int | str, array[int]] = defaultdict(lambda: array("L"))
    for index, key in enumerate(annotations.images):
        of_image[key].append(index)
    labels = {key: frozenset(names[annotations.categories[index]] for index in of_image[key]) for key in of_image}
    same = dict(zip(labels.values(), labels.values(), strict=True))  # few sets, many images
    none = frozenset[str]()
    entries = tuple(
        CocoImage(
            key,
            row["file_name"].replace("\\", "/"),
            (row.get("width"), row.get("height")),
            same[labels[key]] if key in labels else none,
            of_image.get(key, ()),
        )
        for key, row in by_id.items()
    )
    grouped = [row for row in categories if _is_text(row.get("supercategory"))]
    return CocoFile(
        file,
        tuple(names[key] for key in sorted(names, key=lambda key: (isinstance(key, str), key))),
        frozenset(row["supercategory"] for row in grouped if row["supercategory"] != row["name"]),
        entries,
        Counter(name for image in labels.values() for name in image),
        _box_findings(file, entries, annotations),
        annotations,
        names,
    )


def _rows(file: Path) -> tuple[list[Row], list[Row], Annotations]:
    """Categories, images and annotations, with what is used of them."""
    expected = f"{file}: expected COCO's categories, images and annotations"
    lists: dict[str, list[Row]] = {}
    annotations = Annotations()
    try:
        for key, position, row in list_items(file, ("annotations", *USED)):
            if position is None:
                lists[key] = _checked(row, list, f"{expected} as lists", f"for {key}; name the right file")
                continue
            _checked(row, dict, f"{expected} as objects", f"at position {position} of {key}")
            if key == "annotations":
                annotations.add(row)
            else:
                lists[key].append({name: row[name] for name in USED[key] if name in row})
    except _WrongTypeError:
        raise
    except (ValueError, RecursionError) as cause:
        raise ValueError(f"{expected}, got no JSON: {cause}; export it again") from None
    for key in ("annotations", *USED):
        _checked(lists.get(key), list, f"{expected} as lists", f"for {key}; name the right file")
    return lists["categories"], lists["images"], annotations


class _WrongTypeError(ValueError):
    """A value is no list, or an item no object."""


def _checked(value: Any, kind: type[T], expected: str, where: str) -> T:
    if not isinstance(value, kind):
        raise _WrongTypeError(f"{expected}, got {_short(value)} {where}")
    return value


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
        if not is_id(key):
            raise ValueError(
                f"{file}: expected a number or text as id at position {number} of {what}, got {_short(key)}"
            )
        if by_id.setdefault(key, row) is not row and by_id[key] != row:
            raise ValueError(
                f"{file}: expected every id of {what} once, got {key!r} for {_short(by_id[key])} and for "
                f"{_short(row)}; annotations with this id belong to both: export the file again"
            )
    return by_id


def _refuse_unknown(
    file: Path, what: tuple[str, str], given: Sequence[Any], ids: Sequence[Any], known: Mapping[int | str, Any]
) -> None:
    """Refuse annotations whose id is missing in the file: their labels would be lost."""
    key, where = what
    wrong = [index for index, value in enumerate(given) if not is_id(value) or value not in known]
    if not wrong:
        return
    other = [given[index] for index in wrong if is_id(given[index]) and _other_type(given[index]) in known]
    listed = join_names([f"{given[index]!r} in annotation {ids[index]!r}" for index in wrong], SHOWN)
    cause = f"is not in {where}"
    if other:
        types = " and ".join(sorted({type(each).__name__ for each in known}))
        cause += f" ({len(other)} of them as {type(other[0]).__name__}, where {where} has {types})"
    raise ValueError(
        f"{file}: expected an id of {where} in {key}, got {len(wrong)} of {len(ids)} annotations whose {key} "
        f"{cause}: {listed}; their labels would be lost: correct the ids, or remove these annotations"
    )


def _other_type(key: int | str) -> int | str | None:
    if isinstance(key, str):
        return int(key) if key.isascii() and key.isdigit() and len(key) < 20 else None
    return str(key)


def _box_findings(file: Path, images: Sequence[CocoImage], annotations: Annotations) -> tuple[Finding, ...]:
    wrong = [
        repr(annotations.ids[index])
        for image in images
        for index in image.annotations
        if annotations.has_box(index) and annotations.corners(index, *image.size) is None
    ]
    claim = "Some boxes are not x, y, width, height within an image of known size."
    listed = f"{len(wrong)} boxes, of annotations {join_names(wrong, SHOWN)}"
    return (Finding(claim, f"{file.name}: {listed}. Their labels count."),) if wrong else ()


def parts_of_path(path: str) -> tuple[str, ...]:
    """Split a path into folders and name, without a drive, the root and dots."""
    parts = [part for part in posixpath.normpath(path).split("/") if part not in ("", ".", "..")]
    return tuple(part for number, part in enumerate(parts) if number or not part.endswith(":"))


def _is_text(value: Any) -> TypeGuard[str]:
    """Whether it is text that a file name and a JSON file in UTF-8 can hold."""
    return isinstance(value, str) and bool(value) and "\0" not in value and is_utf8(value)


def _short(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
