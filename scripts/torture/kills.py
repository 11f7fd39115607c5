"""Signals at random moments to a run of the whole pipeline: it ends with the files of an undisturbed one."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from export.bundle.bundle import read_bundle
from mlkd.core.files import sha256_of
from scripts.torture.attempt import Attempt
from scripts.torture.marked import Marked, module, send
from tests.helpers import drawings, whole_run

MAIN, CHILD = "SIGKILL to the pipeline", "SIGKILL to a process that it started"
SEARCH, INTERRUPT, TERMINATE = "SIGKILL to a search or its processes", "Ctrl-C", "SIGTERM"
WANTED = {MAIN: 100, CHILD: 70, SEARCH: 30, INTERRUPT: 20, TERMINATE: 20}
SIGNALS = {INTERRUPT: signal.SIGINT, TERMINATE: signal.SIGTERM}
COMMAND = module("pipeline", "bench", "--recipe", "tiny.yaml")
SEARCHING = module("pipeline", "search", "--recipe", "tiny.yaml")
LATEST = 0.5  # of a signal after the start, as a share of the time of an undisturbed run
END_S = 120.0  # within which a disturbed run ends by itself
LONG_S = 900.0
WHOLE = "seconds.txt"  # in the folder of the undisturbed run, at its end
GONE_S = 20.0  # within which what it started is gone
COMPARED = ("teacher/best.safetensors", "student/best.safetensors", "baseline/best.safetensors", "onnx/fp32.onnx")
GO_ON = "rerun the same command to resume"


def attempts(work: Path, what: str, count: int, *, seed: int) -> Iterator[Attempt]:
    """Disturb runs `count` times; a run that ends is compared with an undisturbed one, and a new one begins."""
    command = SEARCHING if what == SEARCH else COMMAND
    reference, folder = undisturbed(work, command), work / "disturbed"
    latest_s = LATEST * float((reference / WHOLE).read_text())
    for number in range(seed, seed + count):
        chance = random.Random(f"{what} {number}")
        while True:
            if not folder.is_dir():
                begin(reference, folder)
            running = Marked(folder, command)
            code = running.wait(chance.uniform(0, latest_s))
            if code is None:
                break
            faults = (
                [f"undisturbed run ended with {code}: {running.tail()}"] if code else differences(reference, folder)
            )
            shutil.rmtree(folder)
            if faults:
                yield Attempt(what, "end of a run", faults)
        yield _disturb(running, what, chance)


def _disturb(running: Marked, what: str, chance: random.Random) -> Attempt:
    children = running.children()
    own = running.process.pid
    victim = (
        chance.choice([own, *children] if what == SEARCH else children or [own]) if what in {CHILD, SEARCH} else own
    )
    note, number = f"at: {running.tail()}", SIGNALS.get(what, signal.SIGKILL)
    send(victim, number)
    code = running.wait(END_S)
    faults = []
    if code is None:
        faults.append(f"still running {END_S:g} s later: {running.tail()}")
    elif victim == own and number != signal.SIGKILL:
        if code != 128 + number or GO_ON not in running.tail():
            faults.append(f"expected exit code {128 + number} and how to go on, got {code}: {running.tail()}")
    elif victim != own and code not in (0, 2):
        faults.append(f"expected success or an error, got exit code {code}: {running.tail()}")
    if code is not None and (left := running.orphans(GONE_S)):
        faults.append(f"left processes: {', '.join(left)}")
    running.kill()
    return Attempt(what, note, faults)


def begin(reference: Path, folder: Path) -> None:
    """Make a folder in which nothing has run yet."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(reference / "tiny.yaml", folder)


def undisturbed(work: Path, command: Sequence[str] = COMMAND) -> Path:
    """The folder with an undisturbed run, beside `work`, for all subjects."""
    work = work.parent
    reference = work / ("searched" if command is SEARCHING else "undisturbed")
    if not (reference / WHOLE).is_file():
        shutil.rmtree(reference, ignore_errors=True)
        reference.mkdir()
        _write_recipe(work, reference / "tiny.yaml", command)
        began = time.monotonic()
        running = Marked(reference, command)
        if running.wait(LONG_S) != 0:
            raise RuntimeError(f"expected an undisturbed run, got: {running.tail()}")
        (reference / WHOLE).write_text(str(time.monotonic() - began))
    return reference


def _write_recipe(work: Path, recipe: Path, command: Sequence[str]) -> None:
    """Draw the images and write the recipe; a search has one candidate, which no measured time decides about."""
    drawn = work / "drawn"
    if not drawn.is_dir():
        unfinished = work / "drawn.partial"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        drawings.draw(unfinished)
        unfinished.rename(drawn)
    if command is SEARCHING:
        students = "backbone: test_resnet, image_px: 32, head: {kind: pooled}"
        recipe.write_text(drawings.with_search(drawn, f"max_p90_ms: 1000, students: {{{students}}}"))
    else:
        whole_run.write_recipe(drawn, recipe.parent)


def differences(reference: Path, folder: Path, names: Sequence[str] = ("tiny",)) -> list[str]:
    """What a finished run of each of these recipes has that an undisturbed one has not, or the other way round."""
    faults = [fault for name in names for fault in _of_recipe(reference, folder, name)]
    faults += [f"{path.relative_to(folder)} is left" for path in folder.rglob("*.partial")]
    left = [path.name for path in (folder / "tmp").iterdir() if not path.name.startswith("torchinductor_")]  # a cache
    faults += [f"temporary {name} is left" for name in left]
    if sorted(path.name for path in (folder / "dist").iterdir()) != sorted(names):
        faults.append("something else is in dist")
    return faults


def _of_recipe(reference: Path, folder: Path, name: str) -> list[str]:
    places = folder / "runs" / name, reference / "runs/tiny"
    stages, expected = (sorted(path.name for path in run.iterdir()) for run in places)
    faults = [f"runs/{name}: expected {', '.join(expected)}, got {', '.join(stages)}"] if stages != expected else []
    for file in COMPARED:
        if sha256_of(places[0] / file) != sha256_of(places[1] / file):
            faults.append(f"{file} of {name} differs")
    if not _equal_golden(folder / "dist" / name, reference / "dist/tiny"):
        faults.append(f"scores of the golden images of {name} differ")
    return faults


def _equal_golden(first: Path, second: Path) -> bool:
    one, two = (np.load(bundle / read_bundle(bundle).golden_expected) for bundle in (first, second))
    return set(one) == set(two) and all(np.array_equal(one[name], two[name]) for name in one)
