"""No image is in two splits: a leak is refused, or where the splits are published, left out of the lesser one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mlkd.data.base import Sample, share_of_name

BY_WORTH = ("test", "val", "train")  # of an image in two published splits, the first keeps it
SHOWN = 5


@dataclass(frozen=True)
class Decoded:
    """An image that could be read, its row in the arrays of the split `array`, and the hash of its file."""

    row: int
    sample: Sample
    sha256: str
    array: str = "train"


def refuse_leaks(splits: dict[str, list[Decoded]]) -> None:
    """Raises ValueError when a name, a content or a group is in two splits."""
    keys: tuple[tuple[str, Callable[[Decoded], str]], ...] = (
        ("name", lambda one: one.sample.name),
        ("content", lambda one: one.sha256),
        ("group", lambda one: one.sample.group),
    )
    for what, key in keys:
        owner: dict[str, tuple[str, str]] = {}
        leaks = []
        for split, samples in splits.items():
            for one in samples:
                first = owner.setdefault(key(one), (split, one.sample.name))
                if first[0] != split:
                    leaks.append(f"in {first[0]} ({first[1]}) and {split} ({one.sample.name})")
        if leaks:
            more = f"; and {len(leaks) - SHOWN} more" if len(leaks) > SHOWN else ""
            raise ValueError(
                f"splits: expected every image in one split, got the same {what} {'; '.join(leaks[:SHOWN])}{more}; "
                "remove one of each"
            )


def without_copies(
    splits: dict[str, list[Decoded]], skipped: dict[str, str]
) -> tuple[dict[str, list[Decoded]], list[Decoded]]:
    """The splits without the images whose content is in a worthier split, and those; `skipped` names each."""
    owner: dict[str, tuple[str, str]] = {}
    kept: dict[str, list[Decoded]] = {}
    left_out: list[Decoded] = []
    for split in BY_WORTH:
        kept[split] = []
        for one in splits[split]:
            first = owner.setdefault(one.sha256, (split, one.sample.name))
            if first[0] == split:
                kept[split].append(one)
            else:
                skipped[one.sample.name] = f"{one.sample.file}: same content as {first[1]} in {first[0]}"
                left_out.append(one)
    return {split: kept[split] for split in splits}, left_out


def units(samples: Sequence[Decoded]) -> list[str]:
    """For each image a key of all that share a group or a content, directly or in a chain; keys have no order."""
    above: dict[str, str] = {}

    def top(name: str) -> str:
        while above.setdefault(name, name) != name:
            name = above[name]
        return name

    for one in samples:
        above[top(f"content {one.sha256}")] = top(f"group {one.sample.group}")
    return [f"{share_of_name(top(f'content {one.sha256}')):.15f}" for one in samples]


def refuse_unlabelled(splits: Mapping[str, Sequence[Sample]]) -> None:
    """Raises ValueError when a split other than train has an image without labels."""
    for split, samples in splits.items():
        for sample in samples:
            if split != "train" and not sample.labelled:
                raise ValueError(f"split {split}: expected labelled images only, got {sample.name}; move it to train")
