"""The error of a stage that failed, and of a disk that is full."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.runner.units import size

SPARE_BYTES = 200_000_000  # free space required besides the estimate of a stage
FAULTS = (ValueError, OSError, RuntimeError, ImportError)
DISK_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")  # what numpy says, without an error number


class StageError(ValueError):
    """A stage failed; the message names the stage, the cause and the next step."""


def check_space(stage: str, folder: Path, needed: int | None) -> None:
    """Raise StageError if the disk has less free space than the stage is expected to need."""
    free = shutil.disk_usage(folder).free
    expected = (needed or 0) + SPARE_BYTES
    if free < expected:
        raise StageError(
            f"stage {stage}: expected {size(expected)} free on the disk of {folder.resolve()}, got {size(free)}; "
            "free some space and rerun the command; finished stages are kept"
        )


@contextmanager
def named(stage: str, partial: Path) -> Iterator[None]:
    """Raise what fails in the block as StageError with the name of the stage, whose files are in `partial`."""
    try:
        yield
    except FAULTS as cause:
        raise _stage_error(cause, stage, partial) from cause


def _stage_error(cause: Exception, stage: str, partial: Path) -> StageError:
    """A full disk anywhere in the chain of causes is named as such."""
    link: BaseException | None = cause
    while link is not None:
        if isinstance(link, OSError) and (link.errno in DISK_FULL or SHORT_WRITE.fullmatch(str(link))):
            file, free = link.filename or partial, size(shutil.disk_usage(partial.parent).free)
            return StageError(
                f"stage {stage}: {file}: expected room to write, got {(link.strerror or str(link)).lower()} "
                f"({free} are free on that disk); free some space, or raise the limit on file sizes, and rerun the "
                "command; finished stages are kept"
            )
        link = link.__cause__ or link.__context__
    where = f"{partial}: " if isinstance(cause, OSError) and cause.filename is None else ""
    return StageError(f"stage {stage}: {where}{cause or type(cause).__name__}")
