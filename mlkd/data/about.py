"""What a prepared set says of itself: where it is from, and its counts."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkd.data.base import Listing


def about(
    listing: Listing, targets: dict[str, NDArray[np.uint8]], label_mask: dict[str, NDArray[np.bool_]], skipped: int
) -> dict[str, Any]:
    """The content of about.json, from the (N, L) arrays of every split.

    An unlabelled image is one of which no label is known; it is not counted as empty.
    """
    looked_at = {name: mask.any(1) for name, mask in label_mask.items()}
    of_each = {name: rows[looked_at[name]].sum(1) for name, rows in targets.items()}
    return {
        "provenance": listing.provenance,
        "licences": list(listing.licences),
        "composed": listing.composed,
        "expected": listing.expected,
        "found": listing.found,
        "counts": {name: len(rows) for name, rows in targets.items()},
        "empty": {name: int((labels == 0).sum()) for name, labels in of_each.items()},
        "unlabelled": {name: int((~rows).sum()) for name, rows in looked_at.items()},
        "skipped": skipped,
        "labels_per_image": {
            name: {str(k): v for k, v in sorted(Counter(labels.tolist()).items())} for name, labels in of_each.items()
        },
        "label_counts": {name: _by_label(listing, rows.sum(0)) for name, rows in targets.items()},
        "unknown": {name: _by_label(listing, (~mask).sum(0)) for name, mask in label_mask.items()},
    }


def _by_label(listing: Listing, counts: NDArray[np.int64]) -> dict[str, int]:
    return dict(zip(listing.labels.names, counts.tolist(), strict=True))


def write_json(file: Path, tree: Any) -> None:
    """Readable, in UTF-8."""
    file.write_text(json.dumps(tree, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
