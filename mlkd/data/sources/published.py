"""What is on the disk against the counts that a data set was published with."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from mlkd.data.base import Sample

LABELS = "labels with images"

_log = logging.getLogger(__name__)


def compare(source: str, expected: dict[str, int], found: dict[str, int]) -> None:
    """Warn of every count that differs: a subset may be meant, so it is no error."""
    for what, count in expected.items():
        if found[what] < count:
            _log.warning(
                "%s: expected %d %s as published, got %d: %d missing", source, count, what, found[what],
                count - found[what],
            )  # fmt: skip
        elif found[what] > count:
            _log.warning("%s: expected %d %s as published, got %d", source, count, what, found[what])


def labels_with_images(splits: Mapping[str, Iterable[Sample]]) -> int:
    """How many labels at least one image has."""
    return len({label for samples in splits.values() for sample in samples for label in sample.positives})
