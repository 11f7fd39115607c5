"""Files on disk that lost a byte or have another bit: the run names them, makes them again and never uses them."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path

from mlkd.core.files import sha256_of
from pipeline import stages
from pipeline.recipe.schema import load_recipe
from pipeline.runner.result import FINISHED
from scripts.torture import one_stage
from scripts.torture.attempt import Attempt
from scripts.torture.kills import undisturbed
from scripts.torture.one_stage import STAGES

CUT, FLIPPED = "a byte cut off", "a bit flipped"
FINISHED_STAGE, INTERRUPTED_STAGE = "a file of a finished stage", "a file of an interrupted stage"
WANTED = {
    f"{damage}, {where}": count
    for where, count in ((FINISHED_STAGE, 64), (INTERRUPTED_STAGE, 20))
    for damage in (CUT, FLIPPED)
}
RESUMABLE = ("teacher", "teacher_outputs", "student", "baseline")
IMAGES = 2  # of a split that are damaged; the others are like them
NAMED = (".safetensors", ".npy", "history.json")  # unfinished work that is read again


def attempts(work: Path, what: str, count: int, *, seed: int) -> Iterator[Attempt]:
    """Damage `count` files, one in each attempt, and go on with the run."""
    reference = undisturbed(work)
    damage = cut if what.startswith(CUT) else flip
    files = _read_files(reference)
    for number in range(seed, seed + count):
        chance = random.Random(f"{what} {number}")
        if what.endswith(FINISHED_STAGE):
            share = (number + (0.5 if damage is flip else 0)) / WANTED[what]  # so that both damage other files
            file, reader = files[int(share * len(files))]
            yield _damage_finished(work, reference, what, file, reader, damage, chance)
        else:
            stage = RESUMABLE[number % len(RESUMABLE)]
            yield _damage_unfinished(work, reference, what, stage, damage, chance)


def cut(file: Path, _chance: random.Random) -> None:
    """Cut off the last byte."""
    file.write_bytes(file.read_bytes()[:-1])


def flip(file: Path, chance: random.Random) -> None:
    """Flip a random bit."""
    content = bytearray(file.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    file.write_bytes(content)


def _read_files(reference: Path) -> list[tuple[str, str]]:
    """The files of all stages that a later stage depends on, each with the first such stage."""
    declared = stages.pipeline(load_recipe(reference / "tiny.yaml"), reference / "runs/tiny").stages
    files = []
    for stage in STAGES:
        readers = [one for one in declared if stage in one.reads]
        images: dict[Path, int] = {}
        for file in sorted((reference / "runs/tiny" / stage).rglob("*")):
            path = file.relative_to(reference / "runs/tiny" / stage).as_posix()
            depending = [one.name for one in readers if not any(fnmatch(path, pattern) for pattern in one.unread)]
            if file.suffix == ".jpg":
                images[file.parent] = images.get(file.parent, 0) + 1
            if file.is_file() and file.stat().st_size and depending and images.get(file.parent, 0) <= IMAGES:
                files.append((f"{stage}/{path}", depending[0]))
    return files


def _damage_finished(
    work: Path,
    reference: Path,
    what: str,
    file: str,
    reader: str,
    damage: Callable[[Path, random.Random], None],
    chance: random.Random,
) -> Attempt:
    folder = one_stage.copy_before(work, reference, reader)
    damaged = folder / "runs/tiny" / file
    damage(damaged, chance)
    digest = sha256_of(damaged)
    running = one_stage.run(folder, reader)
    faults = []
    if running is None or running.process.returncode:
        faults.append(f"did not go on: {running and running.tail()}")
    else:
        path = file.partition("/")[2]
        if path != FINISHED and f"its file {path} has" not in running.output():
            faults.append("not named")
        if path != FINISHED and sha256_of(damaged) == digest:
            faults.append("not made again")
        for stage in STAGES[: STAGES.index(reader) + 1]:
            faults += one_stage.differences(reference, folder, stage)
    faults += one_stage.spoiled(folder, reader)
    shutil.rmtree(folder)
    return Attempt(what, f"{file}, read by {reader}", [f"{file}, read by {reader}: {fault}" for fault in faults])


def _damage_unfinished(
    work: Path,
    reference: Path,
    what: str,
    stage: str,
    damage: Callable[[Path, random.Random], None],
    chance: random.Random,
) -> Attempt:
    folder = one_stage.copy_before(work, reference, stage)
    partial = folder / f"runs/tiny/{stage}.partial"
    running = one_stage.start(folder, stage)
    while running.wait(0.05) is None and len(_contents(partial)) < 2:
        pass
    running.wait(chance.uniform(0, 3))
    running.kill()
    done, named = f"{stage}, ended before it was damaged", True
    if files := _contents(partial):
        damaged = chance.choice(files)
        done = f"{stage}, {damaged.name}"
        damage(damaged, chance)
        named = not damaged.name.endswith(NAMED if damage is flip else NAMED[:-1])  # its last byte is no content
    faults, printed = one_stage.resume(reference, folder, stage)
    if printed and not named and damaged.name not in printed:
        faults.append("not named")
    shutil.rmtree(folder)
    return Attempt(what, done, [f"{done}: {fault}" for fault in faults])


def _contents(partial: Path) -> list[Path]:
    return sorted(file for file in partial.rglob("*") if file.is_file() and file.stat().st_size)
