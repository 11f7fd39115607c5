"""A full or failing disk at any write of any stage: an error that says so, nothing is lost, and the stage resumes."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.runner import result
from pipeline.runner.integrity import altered
from scripts.torture.attempt import Attempt
from scripts.torture.kills import undisturbed
from scripts.torture.marked import Marked

STAGES = (
    "data", "teacher", "teacher_outputs", "student", "baseline", "onnx",
    "precisions", "engines", "bundle", "references", "bench", "report",
)  # fmt: skip
ERRORS = {"full disk (ENOSPC), at a write of each stage": errno.ENOSPC, "failed write (EIO), of each stage": errno.EIO}
WANTED = dict.fromkeys(ERRORS, 8 * len(STAGES))
EQUAL = STAGES[: STAGES.index("precisions")]  # whose results are the same in every run
LONG_S = 300.0


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
    number = 1 + int(share * total)
    folder = _before(work, reference, stage)
    running, done = _run(work, folder, stage, number, ERRORS[what]), f"{stage}, write {number} of {total}"
    faults = []
    if running is None:
        faults.append(f"{done}: still running after {LONG_S:g} s")
    elif (code := running.process.returncode) not in (0, 2):
        faults.append(f"{done}: exit code {code}: {running.tail()}")
    elif code == 2 and not _says_what(running.log, folder, ERRORS[what]):
        faults.append(f"{done}: the message names no place or cause: {_message(running.log)}")
    faults += [f"{done}: {fault}" for fault in _spoiled(folder, stage)]
    again = _run(work, folder, stage, 0, 0)
    if again is None or again.process.returncode:
        faults.append(f"{done}: did not resume: {again and again.tail()}")
    else:
        faults += [f"{done}: {fault}" for fault in _differences(reference, folder, stage)]
    shutil.rmtree(folder)
    return Attempt(what, done, faults)


def _writes(work: Path, reference: Path, stage: str) -> int:
    """How many calls of a stage change a file; counted once."""
    file = work / "writes.json"
    counts: dict[str, int] = json.loads(file.read_text()) if file.is_file() else {}
    if stage not in counts:
        folder = _before(work, reference, stage)
        _run(work, folder, stage, 0, 0)
        counts[stage] = int.from_bytes((folder / "calls").read_bytes(), "little")
        file.write_text(json.dumps(counts))
        shutil.rmtree(folder)
    return counts[stage]


def _before(work: Path, reference: Path, stage: str) -> Path:
    """A copy of the undisturbed run, without this stage and all later ones."""
    folder = work / "disturbed"
    shutil.rmtree(folder, ignore_errors=True)
    later = STAGES[STAGES.index(stage) :]
    shutil.copytree(reference, folder, ignore=lambda at, _: later if Path(at).name == "tiny" else ["dist", "tmp"])
    return folder


def _run(work: Path, folder: Path, stage: str, number: int, error: int) -> Marked | None:
    """Run the stage with a write that fails; None if it takes too long."""
    (folder / "calls").write_bytes(bytes(8))
    environment: Mapping[str, str] = {
        "LD_PRELOAD": str(work / "disk.so"),
        "DISK_FOLDER": str(folder / "runs"),
        "DISK_COUNT": str(folder / "calls"),
        "DISK_FAIL": str(number),
        "DISK_ERROR": str(error),
    }
    running = Marked(folder, ["scripts.torture.one_stage", stage], environment)
    ended = running.wait(LONG_S) is not None
    running.kill()
    return running if ended else None


def _says_what(log: Path, folder: Path, error: int) -> bool:
    message = _message(log)
    causes = ("no space left", "room to write") if error == errno.ENOSPC else ("Input/output error",)
    return any(cause.lower() in message.lower() for cause in causes) and (
        "runs/tiny" in message or str(folder) in message
    )


def _message(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace").partition("error in run")[2].strip()[:300]


def _spoiled(folder: Path, stage: str) -> list[str]:
    """Files of finished stages that are not as they were written."""
    faults: list[str] = []
    for name in STAGES[: STAGES.index(stage)]:
        place = folder / "runs/tiny" / name
        finished = result.read(place)
        if finished is None:
            faults.append(f"{name}: its stage.json is gone")
        elif lost := result.damage(place, finished) or altered(place, finished):
            faults.append(f"{name}: {lost}")
    return faults


def _differences(reference: Path, folder: Path, stage: str) -> list[str]:
    expected, found = (result.read(run / "runs/tiny" / stage) for run in (reference, folder))
    faults = [f"{path.relative_to(folder)} is left" for path in (folder / "runs").rglob("*.partial")]
    if found is None or expected is None:
        return [*faults, "no result"]
    if stage in EQUAL and found.content != expected.content:
        faults.append("another result than that of an undisturbed run")
    return faults
