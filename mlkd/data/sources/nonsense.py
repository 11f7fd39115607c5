"""Refuses sets of labels that nothing can be learnt from: one on every image, or one image for every label."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence

from mlkd.data.sources.rows import Row

LEAST_LABELS = 5  # below which as many labels as images is what a tiny set has


def refuse_nonsense(where: object, rows: Sequence[Row], *, by_folders: bool = False) -> None:
    """Raises ValueError that names the keys which lead out; `by_folders`: labels are the names of sub-folders."""
    other = "say table: FILE, or say root: FOLDER" if by_folders else "say tags_column: NAME, or say table: FILE"
    positives = Counter(tag for row in rows for tag in set(row.tags))
    unknown = Counter(tag for row in rows for tag in set(row.unknown))
    if not positives:
        raise ValueError(f"{where}: expected tags, got none in {len(rows)} images; {other}")
    broken = sorted(name for name in {*positives, *unknown} if any(unicodedata.category(mark) == "Cc" for mark in name))
    if broken:
        raise ValueError(
            f"{where}: expected names of labels on one line, got {', '.join(map(repr, broken[:5]))}; {other}"
        )
    everywhere = sorted(name for name, count in positives.items() if count + unknown[name] == len(rows))
    if len(positives) == len(everywhere) == 1:
        raise ValueError(
            f"{where}: expected labels that some images have and others not, got {everywhere[0]!r} alone, on all of "
            f"{len(rows)} images; {other}" + ("" if by_folders else ", or say labels_from: folders")
        )
    if everywhere:
        raise ValueError(
            f"{where}: expected no label on every image, got {', '.join(map(repr, everywhere[:10]))} on all of "
            f"{len(rows)}, of which nothing can be learnt; say ignore_labels: [{', '.join(everywhere)}]"
        )
    single = sum(count == 1 for count in positives.values())
    if len(positives) >= max(LEAST_LABELS, len(rows)) or (len(positives) >= LEAST_LABELS and single == len(positives)):
        names = ", ".join(map(repr, sorted(positives)[:5]))
        raise ValueError(
            f"{where}: expected labels that several images share, got {len(positives)} labels for {len(rows)} images "
            f"({names}, …), {single} of them on one image; "
            + (other if by_folders else f"say separator: MARK if it stands between tags, {other}")
        )
