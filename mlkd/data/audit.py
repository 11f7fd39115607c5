"""The audit of every source: what of its labels has come in, what was dropped and why, and what is odd about them."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from mlkd.data.base import Finding, Listing, Sample

SHOWN = 10  # names in a finding
LOSS = 0.1  # share of a label's images from which on their loss is named
UNTAGGED = 0.05  # share of images without any label from which on it is named
COPY, OTHER = "copy in another split", "other reason"

LeftOut = Mapping[str, Sequence[tuple[int, ...]]]  # for every reason the label columns of each image


def audit(listing: Listing, kept: Sequence[Sample], left_out: LeftOut, findings: Sequence[Finding]) -> dict[str, Any]:
    """The part of about.json on labels: `labels`, `left_out`, and all findings, as `findings` (problems) or `notes`.

    Args:
        listing: what the source says, with what it left out itself.
        kept: the images of all splits.
        left_out: what was left out of the listing, by reason.
        findings: what else was found on the way.

    Raises:
        ValueError: labels of the source are neither with a kept image nor with one that was left out for a reason.
    """
    reasons = {**listing.left_out, **left_out}
    images = {reason: len(columns) for reason, columns in reasons.items() if columns}
    unnamed = len(listing.skipped) - sum(len(columns) for columns in listing.left_out.values())
    images |= {OTHER: unnamed} if unnamed > 0 and not listing.composed else {}  # of composed ones it counts parts
    labels = _labels(listing, kept, reasons)
    found = [
        *listing.findings,
        *findings,
        *_lost_images(images, len(kept)),
        *_lost_labels(labels),
        *_odd_names(listing.labels.names),
        *_odd_counts(labels, kept),
    ]
    problems, notes = (
        [{"claim": one.claim, "numbers": one.numbers} for one in found if one.note is note] for note in (False, True)
    )
    return {"labels": labels, "left_out": images, "findings": problems, "notes": notes}


def _labels(listing: Listing, kept: Sequence[Sample], reasons: LeftOut) -> dict[str, dict[str, Any]]:
    """For every label the images that the source gives it, those that are kept, and the others by reason."""
    names = listing.labels.names
    counts = Counter(label for sample in kept for label in sample.positives)
    dropped: dict[int, dict[str, int]] = defaultdict(dict)
    for reason, images in reasons.items():
        for label, count in Counter(label for columns in images for label in columns).items():
            dropped[label][reason] = count
    labels = {}
    for label, name in enumerate(names):
        accounted = counts[label] + sum(dropped[label].values())
        source = listing.declared.get(name, 0) if listing.declared else accounted
        labels[name] = {"source": source, "kept": counts[label], "dropped": dropped[label]}
        if source != accounted:
            raise ValueError(
                f"{listing.provenance}: expected all {source} images of label {name!r} to be read, got {accounted} "
                f"({counts[label]} kept, left out: {dropped[label] or 'none'}); labels would be lost: report this"
            )
    return labels


def _lost_images(images: Mapping[str, int], kept: int) -> list[Finding]:
    if not images:
        return []
    told = ", ".join(f"{count} {reason}" for reason, count in images.items())
    numbers = f"{sum(images.values())} of {sum(images.values()) + kept}: {told}."
    return [Finding("Some images were left out.", numbers, note=set(images) <= {COPY})]


def _lost_labels(labels: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    shares = {name: 1 - one["kept"] / one["source"] for name, one in labels.items() if one["source"]}
    gone = [name for name, one in labels.items() if not one["source"]]
    lost = sorted((name for name, share in shares.items() if share >= LOSS), key=lambda name: -shares[name])
    told = [f"{name} {labels[name]['kept']} of {labels[name]['source']}" for name in lost]
    return [
        *([Finding("Some labels have no image.", f"{_listed(gone)}.")] if gone else []),
        *([Finding("Some labels have lost many of their images.", f"Kept: {_listed(told)}.")] if told else []),
    ]


def _odd_names(names: Sequence[str]) -> list[Finding]:
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        alike[" ".join(unicodedata.normalize("NFC", name).casefold().split())].append(name)
    told = [" = ".join(map(repr, group)) for group in alike.values() if len(group) > 1]
    claim = "Some labels differ only in capitals, spaces or the form of their accents."
    return [Finding(claim, f"{_listed(told)}. Each counts as a label of its own.")] if told else []


def _odd_counts(labels: Mapping[str, Mapping[str, Any]], kept: Sequence[Sample]) -> list[Finding]:
    looked_at = [sample for sample in kept if sample.labelled]
    untagged = sum(not (sample.positives or sample.unknown) for sample in looked_at)
    everywhere = [name for name, one in labels.items() if looked_at and one["kept"] == len(looked_at)]
    found = []
    if everywhere:
        found.append(
            Finding("Some labels are on every image: nothing can be learnt of them.", f"{_listed(everywhere)}.")
        )
    if looked_at and untagged >= UNTAGGED * len(looked_at):
        numbers = (
            f"{untagged} of {len(looked_at)} ({untagged / len(looked_at):.0%}). They count as negative for each label."
        )
        found.append(Finding("Many images have no label.", numbers))
    return found


def _listed(items: Sequence[str]) -> str:
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(items[:SHOWN]) + more
