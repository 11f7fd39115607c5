"""Test pictures for the page, with what is on them and what every engine said."""

from __future__ import annotations

import base64
import io
import random
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.manifest import Manifest
from mlkd import images
from mlkd.data.prepared import Split

SHOWN = 18
SIDE_PX = 192


def grid(test: Split, manifest: Manifest, scores: Path, *, seed: int) -> list[dict[str, Any]]:
    """Half of the pictures are such that engines disagree on, the rest are any; `scores` holds ENGINE.npy (N, L)."""
    said = {}
    for engine in manifest.engines:
        file = scores / f"{engine.name}.npy"
        if file.is_file():
            values: NDArray[np.float32] = np.load(file)
            said[engine.name] = values, values >= np.asarray(engine.thresholds, dtype=np.float32)
    chosen = choose([decided for _, decided in said.values()], len(test), seed)
    return [_picture(test, row, said) for row in chosen]


def choose(decisions: list[NDArray[np.bool_]], count: int, seed: int) -> list[int]:
    """Up to SHOWN rows: first those with unequal decisions (N, L), at most half of all, then any others."""
    order = random.Random(seed).sample(range(count), count)
    split = np.zeros(count, dtype=bool)
    for decided in decisions[1:]:
        split |= (decided != decisions[0]).any(1)
    unequal = [row for row in order if split[row]][: SHOWN // 2]
    return (unequal + [row for row in order if row not in unequal])[:SHOWN]


def _picture(test: Split, row: int, said: dict[str, tuple[NDArray[np.float32], NDArray[np.bool_]]]) -> dict[str, Any]:
    names = test.labels.names
    return {
        "name": test.names[row],
        "jpeg_base64": base64.b64encode(_jpeg(test.files[row])).decode("ascii"),
        "true": [names[label] for label in np.flatnonzero(test.targets[row])],
        "engines": {
            engine: [[names[label], float(scores[row, label])] for label in np.flatnonzero(decided[row])]
            for engine, (scores, decided) in said.items()
        },
        "boxes": [[names[box.label], box.x0, box.y0, box.x1, box.y1, box.role] for box in test.boxes[row]],
    }


def _jpeg(file: Path) -> bytes:
    """Small enough for a page, in the picture's own proportions."""
    picture = images.decode(file, SIDE_PX)
    picture.thumbnail((SIDE_PX, SIDE_PX))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=85)
    return stream.getvalue()
