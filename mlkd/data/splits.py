"""Cuts held-out splits from images that have none: by hash of the group, fair to rare labels."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

from mlkd.data.base import Bounds, Sample, share_of_name

CARVED: Bounds = ((0.70, "train"), (0.80, "val"), (1.0, "test"))  # where nobody says which image is in which split
ENOUGH = 3  # positives from which on every split gets one
PAIR = 6  # positives from which on val gets two: one for select, one for tune
RARE = 20  # positives below which most have to stay in train
IMAGES = 2  # that a held-out split has at least, where there are ten


def check_val_share(share: float) -> None:
    """Raises ValueError outside 0.05 to 0.5."""
    if not 0.05 <= share <= 0.5:
        raise ValueError(f"val_share: expected 0.05 to 0.5, got {share}")


def held_out(share: float) -> Bounds:
    """Bounds that give val a share of the images."""
    return ((share, "val"), (1.0, "train"))


def carve(samples: Sequence[Sample], bounds: Bounds) -> dict[str, list[Sample]]:
    """Deal images to the splits of `bounds`, one of which is train; the order is kept, groups stay whole.  The
    images come back marked as `carved`.

    An image's place is the hash of its group, so that it stays when images are added.  Moved are only as many as it
    takes for a label with at least 3 positives to have one in every split, for one with at least 6 to have two in val,
    which is cut in two, and for one with fewer than 20 to keep most in train, after what the others need; rarest labels
    first, those nearest to the bound first.  Such a move can change when that label's images do.  With one held-out
    split the first always comes about; the rest where labels that share images allow it.
    """
    deal = _Deal(samples, bounds)
    by_rarity = sorted(deal.total, key=lambda label: (deal.total[label], label))
    for label in by_rarity:
        deal.keep_most_in_train(label)
    for label in by_rarity:
        deal.hold_out(label)
    deal.fill()
    splits: dict[str, list[Sample]] = {split: [] for _, split in bounds}
    for sample in samples:
        splits[deal.split[sample.group]].append(dataclasses.replace(sample, carved=True))
    return splits


class _Deal:
    """Where every group is; counts are of groups, the unit that moves."""

    def __init__(self, samples: Sequence[Sample], bounds: Bounds) -> None:
        self.labels: dict[str, set[int]] = {}
        for sample in samples:
            self.labels.setdefault(sample.group, set()).update(sample.positives)
        self.share = {group: share_of_name(group) for group in self.labels}
        self.ranges = dict(zip((split for _, split in bounds), _ranges(bounds), strict=True))
        self.held_out = [split for split in self.ranges if split != "train"]
        self.split = {
            group: next(split for below, split in bounds if self.share[group] < below) for group in self.labels
        }
        self.total = Counter(label for labels in self.labels.values() for label in labels)
        self.count = Counter((self.split[group], label) for group, labels in self.labels.items() for label in labels)
        self.groups: dict[int, list[str]] = {}
        for group, labels in self.labels.items():
            for label in labels:
                self.groups.setdefault(label, []).append(group)

    def fill(self) -> None:
        """At least two groups in every held-out split: select and tune need one each."""
        for split in self.held_out:
            missing = IMAGES - list(self.split.values()).count(split)
            if missing > 0 and len(self.split) >= 10:
                rest = [group for group in self.split if self.split[group] == "train"]
                rest.sort(key=lambda group: (not self._is_spare(group), self._distance(group, split)))
                for group in rest[:missing]:
                    self._move(group, split)

    def keep_most_in_train(self, label: int) -> None:
        missing = self._least("train", label) - self.count["train", label]
        if missing > 0:
            rest = [group for group in self.groups[label] if self.split[group] != "train"]
            crowded = sorted(
                rest, key=lambda group: (-self.count[self.split[group], label], self._distance(group, "train"))
            )
            for group in crowded[:missing]:
                self._move(group, "train")

    def hold_out(self, label: int) -> None:
        for split in self.held_out:
            while self.count[split, label] < self._least(split, label):
                others = [group for group in self.groups[label] if self.split[group] != split]
                rest = [group for group in others if self._is_spare(group)]
                if not rest and not self.count[split, label]:
                    rest = [group for group in others if self.split[group] == "train"]
                if not rest:
                    break
                self._move(min(rest, key=lambda group: self._distance(group, split)), split)

    def _least(self, split: str, label: int) -> int:
        """How many positives of the label the split has to keep."""
        total = self.total[label]
        if total < ENOUGH:
            return 0
        if split != "train":
            return 2 if split == "val" and total >= PAIR else 1
        most = total // 2 + 1 if total < RARE else 1
        return max(1, min(most, total - sum(self._least(other, label) for other in self.held_out)))

    def _is_spare(self, group: str) -> bool:
        split = self.split[group]
        return all(self.count[split, label] > self._least(split, label) for label in self.labels[group])

    def _distance(self, group: str, split: str) -> tuple[float, str]:
        low, high = self.ranges[split]
        return max(low - self.share[group], self.share[group] - high, 0.0), group

    def _move(self, group: str, split: str) -> None:
        for label in self.labels[group]:
            self.count[self.split[group], label] -= 1
            self.count[split, label] += 1
        self.split[group] = split


def _ranges(bounds: Bounds) -> list[tuple[float, float]]:
    upper = [below for below, _ in bounds]
    return list(zip([0.0, *upper[:-1]], upper, strict=True))
