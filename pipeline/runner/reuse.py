"""Results of other recipes: a stage does not run where another recipe has its result, of the same identity."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.runner import result

log = logging.getLogger(__name__)


def find(folder: Path, stage: str, identity: Callable[[], Mapping[str, Any]]) -> Path | None:
    """Return a folder beside `folder` with a whole result of the stage that has this identity; None if there is none.

    The identity is computed only if another recipe has a result of the stage at all.
    """
    others = [other for other in sorted(folder.parent.glob("*")) if other != folder]
    results = {other: found for other in others if (found := result.read(other / stage))}
    if not results:
        return None
    wanted = identity()
    same = (other for other, found in results.items() if found.identity == wanted)
    return next((other for other in same if not result.damage(other / stage, results[other])), None)


def take(source: Path, folder: Path, partial: Path) -> bool:
    """Make `folder` the same result as `source`, of hard links, or of copies where the disk has no links.

    Neither changes with the other, because no file of a result is ever written again.  Unfinished work in `partial` is
    removed at the end.  False if the result cannot be read, or is replaced or removed meanwhile; the stage then runs.
    """
    staging, found = _staging(folder), result.read(source)
    try:
        if found is None:
            raise FileNotFoundError(f"{source}: expected a result, got none")
        for path in found.files:
            (staging / path).parent.mkdir(parents=True, exist_ok=True)
            _link(source / path, staging / path)
        os.sync()
        if result.read(source) != found or result.damage(staging, found):
            raise FileNotFoundError(f"{source}: expected an unchanged result, got another or none")
        result.write_json(staging / result.FINISHED, asdict(found), sort_keys=True)
    except OSError as cause:
        log.warning("%s: not reused: %s", folder, cause)
        result.remove(staging)
        return False
    complete(folder, partial)
    return True


def complete(folder: Path, partial: Path) -> None:
    """Complete or undo a `take`, which may have been interrupted."""
    staging = _staging(folder)
    if result.read(staging) is not None:
        result.remove(partial)
        result.swap(staging, folder)
    result.remove(staging)


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except FileNotFoundError:
        raise
    except OSError:  # another disk, one without hard links, or too many of them
        shutil.copy2(source, target)


def _staging(folder: Path) -> Path:
    """Not the folder of an interrupted stage, which writes to the files that it finds when it resumes."""
    return folder.with_name(f"{folder.name}.reused.partial")
