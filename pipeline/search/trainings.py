"""The trainings of a race, which outlive it: a later race with equal ones continues them.

Each has a folder with its checkpoints, and for each finished rung a file with the scores for select.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlkd.core.files import write_file
from mlkd.models import checkpoint
from mlkd.training.config import Training
from mlkd.training.history import FILE as HISTORY
from pipeline.runner.session import SPENT, spent

log = logging.getLogger(__name__)
CLAIM = "claim.lock"  # locked by the worker that trains
RUNG = "select.{}.npz"


@dataclass(frozen=True, kw_only=True)
class Rung:
    """A finished rung: the scores (N, L) of the best epoch until then, and the seconds since the rung before."""

    scores: NDArray[np.float32]
    seconds: float


def rungs(training: Training) -> tuple[int, ...]:
    """The epochs after which candidates are compared: 1, 2, 4, … below those of the whole training, at least 1."""
    return (1, *(2**k for k in range(1, 14) if 2**k < training.last_epoch))


def rung_file(folder: Path, epochs: int) -> Path:
    """The file of the rung that ends after so many epochs; it exists once the rung is finished."""
    return folder / RUNG.format(epochs)


def write_rung(folder: Path, epochs: int, rung: Rung) -> None:
    """Store a finished rung, whole or not at all."""
    content = io.BytesIO()
    np.savez(content, scores=rung.scores, seconds=rung.seconds)
    write_file(rung_file(folder, epochs), content.getvalue())


def read_rung(folder: Path, epochs: int) -> Rung:
    """Read a finished rung; a damaged file raises one of several exceptions, as its checksums do not match."""
    with rung_file(folder, epochs).open("rb") as file, np.load(file) as stored:
        return Rung(scores=stored["scores"], seconds=float(stored["seconds"]))


def seconds_until(folder: Path, training: Training, last: int) -> float:
    """Return how long the rungs until the one of `last` epochs took, and what was spent on one that is not finished."""
    wanted = [epochs for epochs in rungs(training) if epochs <= last]
    finished = [epochs for epochs in wanted if rung_file(folder, epochs).is_file()]
    seconds = sum(read_rung(folder, epochs).seconds for epochs in finished)
    return seconds if finished == wanted else seconds + spent(folder)


def remove_damaged(folder: Path, training: Training) -> None:
    """Remove what cannot be read, and what is useless without it."""
    finished = [epochs for epochs in rungs(training) if rung_file(folder, epochs).is_file()]
    is_gapless = finished == list(rungs(training)[: len(finished)])
    if not is_gapless or not all(_is_readable(folder, epochs) for epochs in finished):
        log.warning("race: %s: expected the scores of each rung, got damaged ones; training starts again", folder)
        _remove_but(folder, ())
    elif not _has_whole_checkpoints(folder):
        log.warning("race: %s: expected whole checkpoints, got damaged ones; training starts again", folder)
        keep_scores(folder)


def keep_scores(folder: Path) -> None:
    """Remove checkpoints, and what else is of use only to continue the training."""
    _remove_but(folder, [*folder.glob(RUNG.format("*"))])


def keep_needed(folders: Collection[Path], work: Path) -> None:
    """Remove the checkpoints of the trainings in `work` that are not among `folders`."""
    for folder in work.iterdir():
        if folder not in folders:
            keep_scores(folder)
        for left in folder.glob("*.partial"):  # by a kill
            left.unlink()


def continue_in(partial: Path, folder: Path, training: Training) -> None:
    """Copy whole checkpoints of a training to the unfinished stage `partial`, and the seconds that it took so far."""
    if (folder / checkpoint.LAST).is_file() and _has_whole_checkpoints(folder):
        for name in (checkpoint.BEST, HISTORY, checkpoint.LAST):  # the last one continues the others
            write_file(partial / name, (folder / name).read_bytes())
        (partial / SPENT).write_text(str(seconds_until(folder, training, training.last_epoch)))


def _remove_but(folder: Path, kept: Collection[Path]) -> None:
    """Remove files, but not the lock, which another worker may wait for."""
    for file in sorted(folder.iterdir(), key=lambda file: file.name != checkpoint.LAST):  # it continues the others
        if file not in kept and file.name != CLAIM:
            file.unlink()


def _is_readable(folder: Path, epochs: int) -> bool:
    try:
        read_rung(folder, epochs)
    except Exception:  # zip files and arrays have many
        return False
    return True


def _has_whole_checkpoints(folder: Path) -> bool:
    """Whether the training can be continued, or has no checkpoints at all."""
    try:
        if (folder / checkpoint.LAST).is_file():
            checkpoint.read_last(folder)
    except ValueError:
        return False
    return True
