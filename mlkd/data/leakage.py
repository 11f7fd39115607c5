"""Refuses or removes leaks: no image, content or group may be in two splits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mlkd.data.base import LeftOut, Sample, hash_fraction
from mlkd.data.disjoint_sets import DisjointSets

SPLIT_PRIORITY = ("test", "val", "train")  # the first of them keeps an image that two published splits have
COPY = "copy in another split"  # reason for which images are left out
SHOWN = 5


@dataclass(frozen=True)
class Decoded:
    """An image that could be decoded: its row in the arrays of split `array`, and the SHA-256 of its file."""

    row: int
    sample: Sample
    sha256: str
    array: str = "train"


def refuse_leaks(splits: Mapping[str, Sequence[Decoded]]) -> None:
    """Raise ValueError where two splits have the same name, content or group."""
    keys: tuple[tuple[str, Callable[[Decoded], str]], ...] = (
        ("name", lambda image: image.sample.name),
        ("content", lambda image: image.sha256),
        ("group", lambda image: image.sample.group),
    )
    for what, key in keys:
        owners: dict[str, tuple[str, str]] = {}
        leaks = []
        for split, images in splits.items():
            for image in images:
                owner, name = owners.setdefault(key(image), (split, image.sample.name))
                if owner != split:
                    leaks.append(f"in {owner} ({name}) and {split} ({image.sample.name})")
        if leaks:
            more = f"; and {len(leaks) - SHOWN} more" if len(leaks) > SHOWN else ""
            raise ValueError(
                f"splits: expected every image in one split, got the same {what} {'; '.join(leaks[:SHOWN])}{more}; "
                "remove one of each"
            )


def drop_equal_files(splits: Mapping[str, Sequence[Decoded]], left_out: LeftOut) -> dict[str, list[Decoded]]:
    """Drop the images whose file is also in a split of higher priority, and record them in `left_out`."""
    owners: dict[str, tuple[str, str]] = {}
    remaining: dict[str, list[Decoded]] = {split: [] for split in splits}
    for split in SPLIT_PRIORITY:
        for image in splits[split]:
            owner, name = owners.setdefault(image.sha256, (split, image.sample.name))
            if owner == split:
                remaining[split].append(image)
            else:
                cause = f"{image.sample.file}: same content as {name} in {owner}"
                left_out.add(COPY, image.sample.name, cause, image.sample.positives)
    return remaining


def group_keys(images: Sequence[Decoded]) -> list[str]:
    """For each image a hash that all images share which have a group or content in common, directly or in a chain."""
    sets = DisjointSets[str]()
    for image in images:
        sets.attach(f"content {image.sha256}", f"group {image.sample.group}")
    return [f"{hash_fraction(sets.root(f'content {image.sha256}')):.15f}" for image in images]


def refuse_unlabelled(splits: Mapping[str, Sequence[Sample]]) -> None:
    """Raise ValueError where a split other than train has an unlabelled image."""
    for split, samples in splits.items():
        for sample in samples:
            if split != "train" and not sample.labelled:
                raise ValueError(f"split {split}: expected labelled images only, got {sample.name}; move it to train")
