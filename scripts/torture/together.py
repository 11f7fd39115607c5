"""Two at once: the second run of a recipe and `clean` are refused, and name who holds it; recipes share results."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from scripts.torture import kills
from scripts.torture.attempt import Attempt
from scripts.torture.marked import Marked, module

RUN, CLEAN = "a second run of a recipe at a random moment", "clean beside a run"
SHARED = "two recipes with equal stages at the same time"
WANTED = {RUN: 20, CLEAN: 10, SHARED: 4}
SECONDS = {RUN: kills.COMMAND, CLEAN: module("pipeline", "clean", "--all")}
NEXT_S = 2.0  # at most between the end of a second command and the next one
REFUSED = 2  # the exit code
HELD = "expected no other run of this recipe, got process {} on "


def attempts(work: Path, what: str, count: int, *, seed: int) -> Iterator[Attempt]:
    """Start a second command beside a run `count` times, or two runs that share their first stages."""
    reference, folder = kills.undisturbed(work), work / "together"
    if what == SHARED:
        for _ in range(count):
            yield _share(reference, folder)
        return
    done, chance = 0, random.Random(f"{what} {seed}")
    while done < count:
        kills.begin(reference, folder)
        first = Marked(folder, kills.COMMAND)
        faults: list[str] = []
        while first.wait(chance.uniform(0, NEXT_S)) is None and done < count:
            if (folder / "runs/tiny/data.partial").is_dir() or (folder / "runs/tiny/data").is_dir():
                faults += _second(folder, first, what)
                done += 1
                yield Attempt(what, f"at: {first.tail()}", faults)
                faults = []
        code = first.wait(kills.LONG_S)
        first.kill()
        if code == 0 and not (folder / "runs/tiny").is_dir():
            continue  # cleaned as soon as it had ended
        faults += kills.differences(reference, folder) if code == 0 else [f"ended with {code}: {first.tail()}"]
        if faults:
            yield Attempt(what, "end of the first run", faults)


def _second(folder: Path, first: Marked, what: str) -> list[str]:
    """Start the second command; the faults of its end."""
    second = Marked(folder, SECONDS[what], log_name="second.txt")
    code = second.wait(kills.END_S)
    second.kill()
    if code == REFUSED and HELD.format(first.process.pid) in second.output().replace("\n", " "):
        return []
    if first.wait(0) is not None:
        return []  # the first one ended before
    return [f"expected exit code {REFUSED} and who holds the recipe, got {code}: {second.tail()}"]


def _share(reference: Path, folder: Path) -> Attempt:
    """Run a recipe and a copy of it under another name."""
    kills.begin(reference, folder)
    shutil.copy(folder / "tiny.yaml", folder / "other.yaml")
    runs = [Marked(folder, kills.COMMAND), Marked(folder, [*kills.COMMAND[:-1], "other.yaml"], log_name="other.txt")]
    faults = []
    for running in runs:
        if (code := running.wait(kills.LONG_S)) != 0:
            faults.append(f"ended with {code}: {running.tail()}")
        running.kill()
    if not faults:
        faults = kills.differences(reference, folder, names=("other", "tiny"))
    return Attempt(SHARED, "ended", faults)
