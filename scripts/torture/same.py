"""The same recipe under other circumstances: the same weights, graphs and scores to the bit, or the result says why."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.runner import result
from scripts.torture import kills
from scripts.torture.attempt import Attempt
from scripts.torture.marked import Marked

AGAIN, FOLDER = "the same recipe again", "in another folder, with a space and letters beyond ASCII"
SETTINGS, USER = (
    "with another hash seed, locale and time zone",
    "as another user (by root, if others may run its Python)",
)
THREADS = "with another number of threads: equal, or recorded in the result"
WANTED = dict.fromkeys((AGAIN, FOLDER, SETTINGS, USER, THREADS), 2)
NOBODY = 65534  # the user without rights, on Linux
START_ITSELF = "import subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"
AS_NOBODY = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]


def attempts(work: Path, what: str, count: int, *, seed: int) -> Iterator[Attempt]:
    """Run the recipe `count` times under other circumstances than the undisturbed run."""
    if what == USER and (
        os.getuid() != 0
        or subprocess.run([*AS_NOBODY, sys.executable, "-c", START_ITSELF], stderr=subprocess.DEVNULL).returncode
    ):
        return  # not root, or a Python that other users may not run
    reference = kills.undisturbed(work)
    folder = work / ("ein Ordner ü" if what == FOLDER else "again")
    variables, threads = {"HOME": str(folder)}, _made_with(reference)["threads"]
    if what == SETTINGS:
        variables |= {"PYTHONHASHSEED": "7", "LC_ALL": "C", "TZ": "Pacific/Auckland"}
    if what == THREADS:
        variables |= {"OMP_NUM_THREADS": str(1 if threads > 1 else 2)}
    for _ in range(seed, seed + count):
        kills.begin(reference, folder)
        if what == USER:
            (folder / "tmp").mkdir()
            for path in (folder, folder / "tmp"):
                os.chown(path, NOBODY, NOBODY)
        running = Marked(folder, [*(AS_NOBODY if what == USER else []), *kills.COMMAND], variables)
        code = running.wait(kills.LONG_S)
        running.kill()
        faults = kills.differences(reference, folder) if code == 0 else [f"ended with {code}: {running.tail()}"]
        note = "equal"
        if code == 0 and faults and _made_with(folder) != _made_with(reference):
            note, faults = f"recorded, as {', '.join(faults)}", []
        shutil.rmtree(folder)
        yield Attempt(what, note, faults)


def _made_with(folder: Path) -> dict[str, Any]:
    teacher = result.read(folder / "runs/tiny/teacher")
    assert teacher is not None
    return teacher.made_with
