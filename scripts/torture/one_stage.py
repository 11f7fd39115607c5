"""A copy of an undisturbed run that goes on from one stage, and what its results must be."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from pipeline.runner import result
from pipeline.runner.integrity import altered
from scripts.torture.marked import Marked, module

STAGES = (
    "data", "teacher", "teacher_outputs", "student", "baseline", "onnx",
    "precisions", "engines", "bundle", "references", "bench", "report",
)  # fmt: skip
EQUAL = STAGES[: STAGES.index("precisions")]  # whose results are the same in every run
LONG_S = 300.0


def copy_before(work: Path, reference: Path, stage: str) -> Path:
    """Copy the undisturbed run without this stage and all later ones; returns the folder, in which all work is done."""
    folder = work / "disturbed"
    shutil.rmtree(folder, ignore_errors=True)
    later = STAGES[STAGES.index(stage) :]
    shutil.copytree(reference, folder, ignore=lambda at, _: later if Path(at).name == "tiny" else ["dist", "tmp"])
    return folder


def start(folder: Path, stage: str, environment: Mapping[str, str] | None = None) -> Marked:
    """Start the recipe of the folder until a stage."""
    return Marked(folder, module("scripts.torture.until_stage", stage), environment)


def run(folder: Path, stage: str, environment: Mapping[str, str] | None = None) -> Marked | None:
    """Run the recipe of the folder until a stage; None if it takes too long."""
    running = start(folder, stage, environment)
    ended = running.wait(LONG_S) is not None
    running.kill()
    return running if ended else None


def resume(reference: Path, folder: Path, stage: str) -> tuple[list[str], str]:
    """Run until a stage, which must end; what its result is not, and all that was printed."""
    running = run(folder, stage)
    if running is None or running.process.returncode:
        return [f"did not resume: {running and running.tail()}"], ""
    return differences(reference, folder, stage), running.output()


def test_images(reference: Path) -> list[Path]:
    """The test images of a run."""
    return sorted((reference / "runs/tiny/data/pictures/test").glob("*.jpg"))


def error_of(running: Marked) -> str:
    """The beginning of the message of a run that failed."""
    return running.output().partition("error in run")[2].strip()[:300]


def spoiled(folder: Path, stage: str) -> list[str]:
    """Files of finished stages before this one that are not as they were written."""
    faults: list[str] = []
    for name in STAGES[: STAGES.index(stage)]:
        place = folder / "runs/tiny" / name
        finished = result.read(place)
        if finished is None:
            faults.append(f"{name}: its stage.json is gone")
        elif lost := result.damage(place, finished) or altered(place, finished):
            faults.append(f"{name}: {lost}")
    return faults


def differences(reference: Path, folder: Path, stage: str) -> list[str]:
    """What the result of a stage is not, compared with that of the undisturbed run; and what is left of its work."""
    expected, found = (result.read(run / "runs/tiny" / stage) for run in (reference, folder))
    faults = [f"{path.relative_to(folder)} is left" for path in (folder / "runs").rglob("*.partial")]
    if found is None or expected is None:
        return [*faults, f"no result of {stage}"]
    if stage in EQUAL and found.content != expected.content:
        faults.append(f"another result of {stage} than that of an undisturbed run")
    return faults
