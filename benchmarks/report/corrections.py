"""What training with corrections changed: labels that are better, worse, and the others."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.report import figures
from benchmarks.sections import Continued, Finding, LabelChange

CHANCE = 0.05  # of a label without a change to be outside its 95 % interval


@dataclass(frozen=True)
class Changes:
    """The labels whose paired interval is above or below 0, the largest change first, and all others by name.

    A label is compared if both models have an AP of it: not if it is new, or has no positive on test.
    """

    better: tuple[LabelChange, ...]
    worse: tuple[LabelChange, ...]
    others: tuple[LabelChange, ...]
    uncompared: tuple[LabelChange, ...] = ()

    @property
    def groups(self) -> tuple[tuple[str, tuple[LabelChange, ...]], ...]:
        """The groups with their titles."""
        return (
            ("Better", self.better),
            ("Worse", self.worse),
            ("No significant difference", self.others),
            ("Not compared", self.uncompared),
        )

    @property
    def by_chance(self) -> str:
        """How many labels are expected to look changed if none is."""
        compared = sum(change.low is not None for _, changes in self.groups for change in changes)
        return f"{CHANCE * compared:.0f} of {compared}"


def read_changes(continued: Continued | None) -> Changes | None:
    """Sort the labels by what happened to them; None where the student continues no model."""
    if continued is None:
        return None
    labels = continued.labels
    better = sorted((one for one in labels if (one.low or 0.0) > 0), key=lambda one: -(one.difference or 0.0))
    worse = sorted((one for one in labels if (one.high or 0.0) < 0), key=lambda one: one.difference or 0.0)
    rest = sorted((one for one in labels if one not in better and one not in worse), key=lambda one: one.label)
    others, uncompared = ([one for one in rest if (one.difference is None) == absent] for absent in (False, True))
    return Changes(tuple(better), tuple(worse), tuple(others), tuple(uncompared))


def worse_than_before(continued: Continued | None) -> Finding | None:
    """The student is significantly worse than the model that it continues."""
    if continued is None or continued.high is None or continued.high >= 0:
        return None
    before, after = figures.points(continued.before_map), figures.points(continued.after_map)
    span = figures.signed_interval(continued.low, continued.high)
    return Finding(
        claim="The student is worse than the model that it continues.",
        numbers=f"mAP {after}, before {before}; paired 95 % interval of the difference {span}. Keep the model from "
        "before, or train with a lower learning rate or more corrections.",
    )
