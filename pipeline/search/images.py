"""Stage search/images: the prepared set with the sizes of the candidates that are trained."""

from __future__ import annotations

import os
from collections.abc import Collection
from functools import partial
from pathlib import Path

from mlkd.data.decode import decode_files
from mlkd.data.prepared import Split, read_split
from pipeline.runner.result import FINISHED
from pipeline.runner.stage import Context

SPLITS = ("train", "select")  # those that a training reads


def run(sizes: Collection[int], context: Context) -> None:
    """Link what the stage data has prepared, and decode train and select at the sizes that it lacks.

    Another set of sizes in the stage data itself would change its identity, and the teacher would be trained again.
    """
    data = context.inputs["data"]
    for file in data.iterdir():
        link = context.out / file.name
        if not file.name.startswith((FINISHED, "tune.", "test.")) and not link.is_symlink():
            link.symlink_to(os.path.relpath(file, context.out))  # relative: the folder of the runs may be moved
    for name in SPLITS:
        _decode(read_split(context.out, name), sizes, context)


def _decode(split: Split, sizes: Collection[int], context: Context) -> None:
    """Write the arrays that are not there; images in shards are decoded when they are read."""
    files = {px: context.out / f"{split.name}.{px}.npy" for px in sorted(sizes)}
    lacking: dict[int, Path | None] = {
        px: file.with_suffix(".partial") for px, file in files.items() if not file.exists()
    }
    if split.shards or not lacking:
        return
    report = partial(context.progress, f"decoding, {split.name}")
    results = decode_files(split.files, lacking, lambda done: report(done, len(split)))
    for result in results:
        if result.unreadable:
            raise ValueError(f"images: expected those that the stage data has read, got {result.unreadable}")
    for px, decoded in lacking.items():
        assert decoded is not None, "all are stored"
        decoded.replace(files[px])
