"""The annotations of a file in COCO's format, in columns: a file of a gigabyte has millions."""

from __future__ import annotations

import math
from array import array
from typing import Any, TypeGuard

from mlkd.data.base import Corners

WITHOUT, BOX, WRONG = range(3)  # what an annotation has as its box


class Annotations:
    """The annotations of a file in columns."""

    def __init__(self) -> None:
        self.ids: list[Any] = []
        self.images: list[Any] = []
        self.categories: list[Any] = []
        self._boxes = array("d")  # x, y, width and height in pixels
        self._kinds = bytearray()
        self._shared: dict[int | str, int | str] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, row: dict[str, Any]) -> None:
        """Add an annotation, without its segmentation, which is most of the file."""
        self.ids.append(row.get("id"))
        for key, column in (("image_id", self.images), ("category_id", self.categories)):
            value = row.get(key)
            column.append(self._shared.setdefault(value, value) if is_id(value) else value)
        box = row.get("bbox")
        is_box = isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))
        self._boxes.extend(box if is_box else (0.0,) * 4)  # type: ignore[arg-type]
        self._kinds.append(BOX if is_box else WITHOUT if box in (None, []) else WRONG)

    def corners(self, index: int, width: Any, height: Any) -> tuple[float, Corners] | None:
        """Area in pixels, and corners as fractions of the image; None for an invalid box or size."""
        if self._kinds[index] != BOX or not _is_number(width) or not _is_number(height) or not width > 0 < height:
            return None
        x, y, across, down = self._boxes[4 * index : 4 * index + 4]
        if across < 0 or down < 0:
            return None
        return across * down, (x / width, y / height, (x + across) / width, (y + down) / height)

    def has_box(self, index: int) -> bool:
        """Whether the annotation has a box, valid or not: an image tag has none."""
        return self._kinds[index] != WITHOUT


def is_id(value: Any) -> TypeGuard[int | str]:
    """Whether it can be an id: a number or text."""
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and abs(value) < 1e9 and math.isfinite(value)
