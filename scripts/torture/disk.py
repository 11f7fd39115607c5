"""A full, failing or read-only disk at any write of any stage: an error that says so, nothing is lost, it resumes."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from scripts.torture import one_stage
from scripts.torture.attempt import Attempt
from scripts.torture.kills import undisturbed
from scripts.torture.marked import Marked
from scripts.torture.one_stage import STAGES

FULL, FAILING = "full disk (ENOSPC), at a write of each stage", "failed write (EIO), of each stage"
READ_ONLY = "read-only folder (EROFS), each stage"
ERRORS = {FULL: errno.ENOSPC, FAILING: errno.EIO, READ_ONLY: errno.EROFS}
CAUSES = {
    FULL: ("no space left", "room to write"),
    FAILING: ("input/output error",),
    READ_ONLY: ("read-only file system",),
}
WANTED = {FULL: 8 * len(STAGES), FAILING: 8 * len(STAGES), READ_ONLY: len(STAGES)}


def attempts(work: Path, what: str, count: int, *, seed: int) -> Iterator[Attempt]:
    """Let `count` writes fail, one in each attempt: of the first stage, of the second, and so on round and round."""
    reference = undisturbed(work)
    library = work / "disk.so"
    source = Path(__file__).with_name("disk.c")
    subprocess.run(["cc", "-O1", "-fPIC", "-shared", "-o", library, source, "-ldl"], check=True)
    for number in range(seed, seed + count):
        stage, turn = STAGES[number % len(STAGES)], number // len(STAGES)
        yield _attempt(work, reference, what, stage, (turn + 0.5) / (WANTED[what] / len(STAGES)))


def _attempt(work: Path, reference: Path, what: str, stage: str, share: float) -> Attempt:
    total = _writes(work, reference, stage)
    number = 1 if what == READ_ONLY else 1 + int(share * total)
    folder = one_stage.copy_before(work, reference, stage)
    running, done = _run(work, folder, stage, number, ERRORS[what]), f"{stage}, write {number} of {total}"
    faults = []
    if running is None:
        faults.append(f"{done}: still running after {one_stage.LONG_S:g} s")
    elif (code := running.process.returncode) not in (0, 2) or (code == 0 and what == READ_ONLY):
        faults.append(f"{done}: exit code {code}: {running.tail()}")
    elif code == 2 and not _says_what(running, folder, CAUSES[what]):
        faults.append(f"{done}: the message names no place or cause: {one_stage.error_of(running)}")
    faults += [f"{done}: {fault}" for fault in one_stage.spoiled(folder, stage)]
    faults += [f"{done}: {fault}" for fault in one_stage.resume(reference, folder, stage)[0]]
    shutil.rmtree(folder)
    return Attempt(what, done, faults)


def _writes(work: Path, reference: Path, stage: str) -> int:
    """How many calls of a stage change a file; counted once."""
    file = work / "writes.json"
    counts: dict[str, int] = json.loads(file.read_text()) if file.is_file() else {}
    if stage not in counts:
        folder = one_stage.copy_before(work, reference, stage)
        _run(work, folder, stage, 0, 0)
        counts[stage] = int.from_bytes((folder / "calls").read_bytes(), "little")
        file.write_text(json.dumps(counts))
        shutil.rmtree(folder)
    return counts[stage]


def _run(work: Path, folder: Path, stage: str, number: int, error: int) -> Marked | None:
    """Run the stage with a write that fails, none for 0."""
    (folder / "calls").write_bytes(bytes(8))
    environment = {
        "LD_PRELOAD": str(work / "disk.so"),
        "DISK_FOLDER": str(folder / "runs"),
        "DISK_COUNT": str(folder / "calls"),
        "DISK_FAIL": str(number),
        "DISK_ERROR": str(error),
    }
    return one_stage.run(folder, stage, environment)


def _says_what(running: Marked, folder: Path, causes: tuple[str, ...]) -> bool:
    message = one_stage.error_of(running)
    return any(cause in message.lower() for cause in causes) and ("runs/tiny" in message or str(folder) in message)
