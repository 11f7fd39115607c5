"""Audits a prepared set for about.json: its counts, which labels arrived, what was left out and why, and oddities."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from mlkd.data.base import Finding, LeftOutLabels, Listing, Sample, join_names, normal_spelling
from mlkd.data.leakage import COPY

SHOWN = 10  # names in a finding
LOSS = 0.1  # share of a label's images from which on their loss is reported
UNTAGGED = 0.05  # share of images without any label from which on it is reported
OTHER = "other reason"

_log = logging.getLogger(__name__)


class LabelCounts(TypedDict):
    """How many images of a label the source has, how many are kept, and how many were dropped for which reason."""

    source: int
    kept: int
    dropped: dict[str, int]


def compare_counts(source: str, expected: Mapping[str, int], actual: Mapping[str, int]) -> None:
    """Warn where a count differs from the published one; no error, because a subset may be intended."""
    for what, count in expected.items():
        if actual[what] != count:
            missing = f": {count - actual[what]} missing" if actual[what] < count else ""
            _log.warning("%s: expected %d %s as published, got %d%s", source, count, what, actual[what], missing)


def count_labels(
    listing: Listing, targets: Mapping[str, NDArray[np.uint8]], label_mask: Mapping[str, NDArray[np.bool_]]
) -> dict[str, Any]:
    """Count the images and labels of every split, from arrays (N, L).

    An image is unlabelled if no label of it is known; it does not count as empty.
    """
    labelled = {name: mask.any(1) for name, mask in label_mask.items()}
    of_each = {name: rows[labelled[name]].sum(1) for name, rows in targets.items()}

    def by_label(counts: NDArray[np.int64]) -> dict[str, int]:
        return dict(zip(listing.labels.names, counts.tolist(), strict=True))

    return {
        "counts": {name: len(rows) for name, rows in targets.items()},
        "empty": {name: int((labels == 0).sum()) for name, labels in of_each.items()},
        "unlabelled": {name: int((~rows).sum()) for name, rows in labelled.items()},
        "labels_per_image": {
            name: {str(k): v for k, v in sorted(Counter(labels.tolist()).items())} for name, labels in of_each.items()
        },
        "label_counts": {name: by_label(rows.sum(0)) for name, rows in targets.items()},
        "unknown": {name: by_label((~mask).sum(0)) for name, mask in label_mask.items()},
    }


def audit(
    listing: Listing, samples: Sequence[Sample], left_out: LeftOutLabels, findings: Sequence[Finding]
) -> dict[str, Any]:
    """Return `labels`, `left_out`, and all findings as `findings` (problems) and `notes`.

    `left_out` and `findings` come from the preparation, `samples` are the images of all splits.  Raises ValueError if
    images of a label are neither kept nor left out for a reason.
    """
    reasons = {**listing.left_out, **left_out}
    images = {reason: len(columns) for reason, columns in reasons.items() if columns}
    unnamed = len(listing.skipped) - sum(len(columns) for columns in listing.left_out.values())
    if unnamed > 0 and not listing.composed:  # a composed source counts the parts that it skipped
        images[OTHER] = unnamed
    labels = _count_by_label(listing, samples, reasons)
    own = [
        _lost_images(images, len(samples)),
        *_lost_labels(labels),
        _similar_names(listing.labels.names),
        *_odd_counts(labels, samples),
    ]
    collected = [*listing.findings, *findings, *(finding for finding in own if finding.numbers)]
    problems, notes = (
        [{"claim": item.claim, "numbers": item.numbers} for item in collected if item.note is note]
        for note in (False, True)
    )
    return {"labels": labels, "left_out": images, "findings": problems, "notes": notes}


def _count_by_label(listing: Listing, samples: Sequence[Sample], reasons: LeftOutLabels) -> dict[str, LabelCounts]:
    counts = Counter(label for sample in samples for label in sample.positives)
    dropped: dict[int, dict[str, int]] = defaultdict(dict)
    for reason, images in reasons.items():
        for label, count in Counter(label for columns in images for label in columns).items():
            dropped[label][reason] = count
    labels: dict[str, LabelCounts] = {}
    for label, name in enumerate(listing.labels.names):
        accounted = counts[label] + sum(dropped[label].values())
        source = listing.declared.get(name, 0) if listing.declared else accounted
        labels[name] = {"source": source, "kept": counts[label], "dropped": dropped[label]}
        if source != accounted:
            raise ValueError(
                f"{listing.provenance}: expected to read all {source} images of label {name!r}, got {accounted} "
                f"({counts[label]} kept, left out: {dropped[label] or 'none'}); labels would be lost: report this bug"
            )
    return labels


def _about_names(claim: str, names: Sequence[str], numbers: str = "{}.") -> Finding:
    """A finding about `names`; without numbers if there are none."""
    return Finding(claim, numbers.format(join_names(names, SHOWN)) if names else "")


def _lost_images(images: Mapping[str, int], kept: int) -> Finding:
    reasons = ", ".join(f"{count} {reason}" for reason, count in images.items())
    numbers = f"{sum(images.values())} of {sum(images.values()) + kept}: {reasons}." if images else ""
    return Finding("Some images were left out.", numbers, note=set(images) <= {COPY})


def _lost_labels(labels: Mapping[str, LabelCounts]) -> list[Finding]:
    shares = {name: 1 - counts["kept"] / counts["source"] for name, counts in labels.items() if counts["source"]}
    gone = [name for name, counts in labels.items() if not counts["source"]]
    lost = sorted((name for name, share in shares.items() if share >= LOSS), key=lambda name: -shares[name])
    kept = [f"{name} {labels[name]['kept']} of {labels[name]['source']}" for name in lost]
    return [
        _about_names("Some labels have no image.", gone),
        _about_names("Some labels have lost many of their images.", kept, "Kept: {}."),
    ]


def _similar_names(names: Sequence[str]) -> Finding:
    by_spelling: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        by_spelling[normal_spelling(name)].append(name)
    similar = [" = ".join(map(repr, group)) for group in by_spelling.values() if len(group) > 1]
    claim = "Some labels differ only in case, spaces or Unicode form."
    return _about_names(claim, similar, "{}. Each counts as a separate label.")


def _odd_counts(labels: Mapping[str, LabelCounts], samples: Sequence[Sample]) -> list[Finding]:
    labelled = [sample for sample in samples if sample.labelled]
    untagged = sum(not (sample.positives or sample.unknown) for sample in labelled)
    everywhere = [name for name, counts in labels.items() if labelled and counts["kept"] == len(labelled)]
    findings = [_about_names("Some labels are on every image, so no model can learn them.", everywhere)]
    if labelled and untagged >= UNTAGGED * len(labelled):
        share = f"{untagged} of {len(labelled)} ({untagged / len(labelled):.0%})"
        findings.append(Finding("Many images have no label.", f"{share}. They count as negative for each label."))
    return findings
