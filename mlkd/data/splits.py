"""Splits images: by the hash of their group where the source has no splits, and val into select and tune.

Both are fair to rare labels.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlkd.data.base import Bounds, Sample, hash_fraction

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TRAIN_VAL_TEST: Bounds = ((0.70, "train"), (0.80, "val"), (1.0, "test"))  # for images without any split
IN_EACH_SPLIT = 3  # positives from which on every split gets one
TWO_IN_VAL = 6  # positives from which on val gets two: one for select, one for tune
RARE = 20  # positives below which most have to stay in train
LEAST_GROUPS = 2  # that a held-out split has, if there are ten in all


def check_val_share(share: float) -> None:
    """Raise ValueError outside 0.05 to 0.5."""
    if not 0.05 <= share <= 0.5:
        raise ValueError(f"val_share: expected 0.05 to 0.5, got {share}")


def train_val(share: float) -> Bounds:
    """Bounds that give val this share of the images and train the rest."""
    return ((share, "val"), (1.0, "train"))


def split_by_hash(samples: Sequence[Sample], bounds: Bounds) -> dict[str, list[Sample]]:
    """Assign images to the splits of `bounds`, one of which is train, and mark them as `movable`; groups stay whole.

    The hash of an image's group decides, so that images keep their split when others are added.  As few groups as
    possible are then moved, so that a label with at least 3 positives has one in every split; one with at least 6 has
    two in val, which is split in two; and one with fewer than 20 keeps most in train, after what the others need.
    Rarest labels come first, and groups nearest to the bound.  Such a move can change when the images of that label
    change.  With one held-out split the first rule always holds; the others where labels that share images allow it.
    """
    assignment = _Assignment(samples, bounds)
    by_rarity = sorted(assignment.total, key=lambda label: (assignment.total[label], label))
    for label in by_rarity:
        assignment.keep_most_in_train(label)
    for label in by_rarity:
        assignment.hold_out(label)
    assignment.fill()
    splits: dict[str, list[Sample]] = {split: [] for _, split in bounds}
    for sample in samples:
        splits[assignment.split[sample.group]].append(dataclasses.replace(sample, movable=True))
    return splits


class _Assignment:
    """The split of every group; all counts are of groups, the unit that moves."""

    def __init__(self, samples: Sequence[Sample], bounds: Bounds) -> None:
        self.labels: dict[str, set[int]] = {}
        for sample in samples:
            self.labels.setdefault(sample.group, set()).update(sample.positives)
        self.hash = {group: hash_fraction(group) for group in self.labels}
        upper = [bound for bound, _ in bounds]
        ranges = zip([0.0, *upper[:-1]], upper, strict=True)
        self.ranges = dict(zip((split for _, split in bounds), ranges, strict=True))
        self.held_out = [split for split in self.ranges if split != "train"]
        self.split = {
            group: next(split for bound, split in bounds if self.hash[group] < bound) for group in self.labels
        }
        self.total = Counter(label for labels in self.labels.values() for label in labels)
        self.count = Counter((self.split[group], label) for group, labels in self.labels.items() for label in labels)
        self.groups: dict[int, list[str]] = {}
        for group, labels in self.labels.items():
            for label in labels:
                self.groups.setdefault(label, []).append(group)

    def fill(self) -> None:
        """Give every held-out split at least two groups: select and tune need one each."""
        for split in self.held_out:
            missing = LEAST_GROUPS - list(self.split.values()).count(split)
            if missing > 0 and len(self.split) >= 10:
                candidates = [group for group in self.split if self.split[group] == "train"]
                candidates.sort(key=lambda group: (not self._is_spare(group), self._distance(group, split)))
                for group in candidates[:missing]:
                    self._move(group, split)

    def keep_most_in_train(self, label: int) -> None:
        missing = self._least("train", label) - self.count["train", label]
        if missing > 0:
            candidates = [group for group in self.groups[label] if self.split[group] != "train"]
            candidates.sort(key=lambda group: (-self.count[self.split[group], label], self._distance(group, "train")))
            for group in candidates[:missing]:
                self._move(group, "train")

    def hold_out(self, label: int) -> None:
        for split in self.held_out:
            while self.count[split, label] < self._least(split, label):
                others = [group for group in self.groups[label] if self.split[group] != split]
                candidates = [group for group in others if self._is_spare(group)]
                if not candidates and not self.count[split, label]:
                    candidates = [group for group in others if self.split[group] == "train"]
                if not candidates:
                    break
                self._move(min(candidates, key=lambda group: self._distance(group, split)), split)

    def _least(self, split: str, label: int) -> int:
        """How many positives of the label the split has to have."""
        total = self.total[label]
        if total < IN_EACH_SPLIT:
            return 0
        if split != "train":
            return 2 if split == "val" and total >= TWO_IN_VAL else 1
        most = total // 2 + 1 if total < RARE else 1
        return max(1, min(most, total - sum(self._least(other, label) for other in self.held_out)))

    def _is_spare(self, group: str) -> bool:
        """Whether the group's split has enough positives of all its labels without it."""
        split = self.split[group]
        return all(self.count[split, label] > self._least(split, label) for label in self.labels[group])

    def _distance(self, group: str, split: str) -> tuple[float, str]:
        """How far the group's hash is from the range of the split; the name makes the order unique."""
        low, high = self.ranges[split]
        return max(low - self.hash[group], self.hash[group] - high, 0.0), group

    def _move(self, group: str, split: str) -> None:
        for label in self.labels[group]:
            self.count[self.split[group], label] -= 1
            self.count[split, label] += 1
        self.split[group] = split


def split_val(targets: NDArray[np.uint8], keys: Sequence[str]) -> NDArray[np.bool_]:
    """Split val into select (True; early stopping, weights) and tune (False; thresholds), fair to rare labels.

    Rare labels of the targets (N, L) come first; each image goes to the half with fewer positives of the label.  Images
    with equal keys, which are hashes, stay together.  Raises ValueError for fewer than two different images.
    """

    import numpy as np

    rows_of: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        rows_of.setdefault(key, []).append(row)
    groups = [rows_of[key] for key in sorted(rows_of)]
    if len(groups) < 2:
        raise ValueError(f"val: expected at least 2 different images to split in two, got {len(groups)}; add images")
    positive = np.stack([targets[rows].max(0) for rows in groups]).astype(np.int64)
    side = np.zeros(len(groups), dtype=np.int64)  # +1 select, -1 tune, 0 not assigned yet
    balance = np.zeros(positive.shape[1], dtype=np.int64)
    for label in np.argsort(positive.sum(0), kind="stable"):
        for group in np.flatnonzero((positive[:, label] > 0) & (side == 0)):
            side[group] = _smaller_side(balance[label], side.sum())
            balance += side[group] * positive[group]
    for group in np.flatnonzero(side == 0):
        side[group] = _smaller_side(0, side.sum())
    in_select = np.zeros(len(keys), dtype=np.bool_)
    for rows, half in zip(groups, side, strict=True):
        in_select[rows] = half > 0
    return in_select


def _smaller_side(label_balance: int, image_balance: int) -> int:
    """+1 or -1: the half with fewer positives of the label, else the one with fewer images."""
    return -1 if (label_balance or image_balance) > 0 else 1
