"""Results of other recipes: a stage does not run where another recipe has its result, of the same identity."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.runner import result
from pipeline.runner.integrity import altered
from pipeline.runner.result import Result

log = logging.getLogger(__name__)

OUTSIDE = "outside"  # the part of an identity that lies outside of the pipeline: user files, the machine


@dataclass(frozen=True)
class Found:
    """The result of a stage in the folder of another recipe."""

    folder: Path
    result: Result


def find(folder: Path, stage: str, inside: Mapping[str, Any], outside: Callable[[], Any]) -> Found | None:
    """Return a whole result of the stage with an equal identity from a folder beside `folder`; None if there is none.

    Args:
        folder: Results of the recipe.
        stage: Name of the stage.
        inside: The identity without its part OUTSIDE.
        outside: Returns that part; called only if the rest of a result's identity is equal.
    """
    wanted: dict[str, Any] = {}
    for other in sorted(folder.parent.glob("*")):
        last = result.read(other / stage) if other != folder else None
        if last is None or {**last.identity, **inside} != last.identity:
            continue
        wanted = wanted or {**inside, OUTSIDE: outside()}
        if last.identity == wanted and not result.damage(other / stage, last):
            return Found(other, last)
    return None


def take(found: Found, stage: str, folder: Path, partial: Path) -> bool:
    """Make `folder` the same result as the one that was found, of hard links, or of copies where the disk has no links.

    Neither changes with the other, because no file of a result is ever written again.  Unfinished work in `partial` is
    removed at the end.  False if the result cannot be read, or is replaced or removed meanwhile; the stage then runs.
    """
    source, staging = found.folder / stage, _staging(folder)
    try:
        staging.mkdir(parents=True)
        for path in found.result.files:
            (staging / path).parent.mkdir(parents=True, exist_ok=True)
            _link(source / path, staging / path)
        os.sync()
        if result.read(source) != found.result or result.damage(staging, found.result):
            raise FileNotFoundError("expected an unchanged result, got another one or none")
        if changed := altered(staging, found.result):
            raise FileNotFoundError(f"expected an unchanged result, but {changed}")
        result.write_json(staging / result.FINISHED, asdict(found.result), sort_keys=True)
    except OSError as cause:
        log.warning("%s: %s is not reused: %s", stage, source, cause)
        result.remove(staging)
        return False
    complete(folder, partial)
    return True


def complete(folder: Path, partial: Path) -> None:
    """Complete or undo a `take` that may have been interrupted."""
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
    """Not the folder of an interrupted stage: a stage that resumes writes to the files that it finds there."""
    return folder.with_name(f"{folder.name}.reused.partial")
