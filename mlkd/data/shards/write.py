"""Writes a prepared set as shards, with all that a data source knows of its images."""

from __future__ import annotations

import json
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mlkd.core.files import write_file
from mlkd.core.image_kinds import NAMED
from mlkd.core.progress import Progress, silent
from mlkd.data.prepared import Split, read_split
from mlkd.data.shards.tar_files import write_shard

PARTS = {"train": ("train",), "val": ("select", "tune"), "test": ("test",)}


def write_shards(data: Path, out: Path, *, images: int, seed: int, progress: Progress = silent) -> None:
    """Write train/000000.tar, …, val/…, test/… and dataset.json, as the data source `shards` reads them.

    Args:
        data: Folder of a prepared set.
        out: A folder that is new or empty.
        images: Images in a shard; those of a split are spread evenly, in random order.
        seed: Of that order.
        progress: Gets the number of shards that are written.

    Raises:
        ValueError: `out` has files, or `images` is below 1.
        OSError: An image file is gone.
    """
    if images < 1:
        raise ValueError(f"images: expected at least 1 in a shard, got {images}")
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out}: expected a new or empty folder, got files; choose another folder")
    about = json.loads((data / "about.json").read_text(encoding="utf-8"))
    for split, parts in PARTS.items():
        (out / split).mkdir(parents=True)
        samples = [(part, row) for part in (read_split(data, name) for name in parts) for row in range(len(part))]
        order = np.random.default_rng([seed, len(split)]).permutation(len(samples))
        chunks = np.array_split(order, -(-len(samples) // images))
        for number, chunk in enumerate(chunks):
            progress(f"shards, {split}", number, len(chunks))
            write_shard(out / split / f"{number:06d}.tar", [_sample(*samples[choice]) for choice in chunk])
    labels = list(read_split(data, "test").labels.names)
    tree = {"labels": labels} | {key: about[key] for key in ("provenance", "licences", "composed")}
    write_file(out / "dataset.json", json.dumps(tree, ensure_ascii=False, indent=1) + "\n")


def _suffix(file: Path) -> str:
    """The suffix of an image, or that of its format if its name has none: readers of shards find images by it."""
    suffix = file.suffix.lower()
    if suffix in NAMED:
        return suffix
    with Image.open(file) as image:
        return f".{str(image.format).lower()}"


def _sample(split: Split, row: int) -> tuple[str, bytes, dict[str, Any]]:
    """Return suffix, content and facts of an image; facts that are the reader's default are left out."""
    file, name, names = split.files[row], split.names[row], np.array(split.labels.names)
    known = np.ones(len(names), bool) if split.label_mask is None else split.label_mask[row]
    labels = names[split.targets[row].astype(bool)].tolist()
    boxes = [[names[box.label], *astuple(box)[1:]] for box in split.boxes[row]]
    optional = {
        "unknown": names[~known].tolist() if known.any() else [],
        "group": split.groups[row] if split.groups[row] != name else "",
        "shared": list(split.shared[row]) if split.shared else [],
        "boxes": boxes,
    }
    facts = {"name": name, "labels": labels if known.any() else None}
    return _suffix(file), file.read_bytes(), facts | {key: value for key, value in optional.items() if value}
