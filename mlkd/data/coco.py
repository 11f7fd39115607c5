"""COCO 2014 in its official layout: annotations/instances_{train,val}2014.json, train2014, val2014."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mlkd.data.base import Corners, Listing, Picture, fingerprint_files, fingerprint_names, names_below, ranked
from mlkd.data.carve import carve, check_val_share, held_out
from mlkd.data.published import LABELS, labels_with_pictures
from mlkd.labels import Labels
from mlkd.progress import Progress

PARTS = ("train2014", "val2014")
# Papers report 82,081 and 40,137 pictures: those with at least one object.  The others are kept, with empty labels.
PUBLISHED = {
    "pictures in train2014": 82_783,
    "pictures with objects in train2014": 82_081,
    "pictures in val2014": 40_504,
    "pictures with objects in val2014": 40_137,
    LABELS: 80,
}


@dataclass(frozen=True, kw_only=True)
class Coco:
    """train2014 (a share of it becomes val, by hash of the name, fair to rare labels), and val2014 as test.

    Labels are the categories in the order of their ids.  Crowds (iscrowd) count as positive, their boxes as objects.
    """

    kind: Literal["coco"] = "coco"
    root: Path
    val_share: float = 0.05

    def __post_init__(self) -> None:
        check_val_share(self.val_share)

    def needs_fetch(self) -> bool:
        """Never: the pictures are the user's."""
        return False

    def fingerprint(self) -> str:
        """Sizes of the annotations and names of the pictures."""
        annotations = [_annotations(self.root, part) for part in PARTS]
        pictures = fingerprint_names(*(self.root / part for part in PARTS))
        return fingerprint_files(annotations, self.root)[:32] + pictures[:32]

    def read(self, work: Path, progress: Progress) -> Listing:  # noqa: ARG002  (only scenes write)
        """List the pictures; one whose file is missing is skipped and named."""
        skipped: dict[str, str] = {}
        parts: dict[str, list[Picture]] = {}
        labels: Labels | None = None
        for done, part in enumerate(PARTS):
            progress("annotations", done, len(PARTS))
            instances = _Instances(_annotations(self.root, part))
            labels = labels or instances.labels
            if instances.labels != labels:
                raise ValueError(
                    f"{instances.file}: expected the categories of {PARTS[0]}, got others; take one release"
                )
            parts[part] = instances.pictures(self.root / part, skipped)
        assert labels is not None
        train = carve(parts["train2014"], held_out(self.val_share))
        return Listing(
            labels,
            {"train": train["train"], "val": train["val"], "test": parts["val2014"]},
            "COCO 2014",
            ("CC-BY 4.0 (annotations)", "Flickr terms of use (pictures)"),
            skipped=skipped,
            published=True,
            expected=PUBLISHED,
            found=_counts(parts),
        )


def _annotations(root: Path, part: str) -> Path:
    file = root / "annotations" / f"instances_{part}.json"
    for needed in (file, root / part):
        if not needed.exists():
            raise ValueError(
                f"root: expected {needed}, got none; unpack annotations_trainval2014, train2014 and val2014 into one "
                "folder and name it"
            )
    return file


def _counts(parts: dict[str, list[Picture]]) -> dict[str, int]:
    counts = {LABELS: labels_with_pictures(parts)}
    for part, pictures in parts.items():
        counts[f"pictures in {part}"] = len(pictures)
        counts[f"pictures with objects in {part}"] = sum(bool(picture.positives) for picture in pictures)
    return counts


class _Instances:
    """One of the two annotation files, without the outlines, which are most of it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            tree = json.loads(file.read_bytes(), object_hook=_without_outline)
            categories = sorted(tree["categories"], key=lambda one: one["id"])
            self.column = {one["id"]: column for column, one in enumerate(categories)}
            self.images: list[dict[str, Any]] = list(tree["images"])
            self.of_image: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
            for annotation in tree["annotations"]:
                self.of_image[annotation["image_id"]].append(annotation)
            self.labels = Labels(tuple(one["name"] for one in categories))
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as cause:
            raise ValueError(f"{file}: expected COCO's images, annotations and categories, got {cause!r}") from None

    def pictures(self, folder: Path, skipped: dict[str, str]) -> list[Picture]:
        """Pictures in the file's order; those that are not in `folder` are skipped and named."""
        there = set(names_below(folder))
        pictures = []
        for image in self.images:
            picture = self._picture(folder, image)
            if picture.file.name in there:
                pictures.append(picture)
            else:
                skipped[picture.name] = f"missing file {picture.file}"
        return pictures

    def _picture(self, folder: Path, image: dict[str, Any]) -> Picture:
        try:
            file = folder / Path(image["file_name"]).name
            annotations = self.of_image.get(image["id"], [])
            boxes = ranked([self._object(one, image["width"], image["height"]) for one in annotations])
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as cause:
            raise ValueError(
                f"{self.file}: expected file_name, size, known categories and boxes of image {str(image)[:80]}, "
                f"got {cause!r}; take the published file"
            ) from None
        return Picture(file.stem, file, tuple(sorted({box.label for box in boxes})), file.stem, boxes)

    def _object(self, annotation: dict[str, Any], width: float, height: float) -> tuple[float, int, Corners]:
        x, y, across, down = annotation["bbox"]
        corners = (x / width, y / height, (x + across) / width, (y + down) / height)
        return across * down, self.column[annotation["category_id"]], corners


def _without_outline(tree: dict[str, Any]) -> dict[str, Any]:
    tree.pop("segmentation", None)
    return tree
