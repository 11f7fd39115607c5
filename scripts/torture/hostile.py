"""Hostile input at every door: a result or a clear error, no hang, nothing outside the folder, bounded memory.

A door is fuzzed in a process of its own, guided by coverage where atheris is installed (`pip install --group fuzz`).
Inputs with faults stay in WORK; add them to tests/corpus when they are corrected.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from scripts.torture.attempt import Attempt
from scripts.torture.doors import DOORS

WANTED = dict.fromkeys((f"hostile input: {door}" for door in DOORS), 1)  # runs
RUN_S = 60.0
LONGEST_S = 10 * RUN_S  # with the start, and an input that hangs
MEMORY = "/dev/shm"  # a folder in memory, because a door writes files for each input


def attempts(work: Path, what: str, count: int, *, seed: int) -> Iterator[Attempt]:
    """Fuzz a door `count` times, for a minute each."""
    door = what.rpartition(" ")[2]
    for number in range(seed, seed + count):
        yield fuzz(door, work / door / str(number), number + 1, RUN_S)


def fuzz(door: str, out: Path, seed: int, seconds: float) -> Attempt:
    """One run of a door's fuzzer."""
    words = [door, "--seconds", f"{seconds:g}", "--seed", str(seed), "--out", str(out)]
    out.mkdir(parents=True, exist_ok=True)
    faults = []
    command = [sys.executable, "-m", "scripts.torture.fuzzing", *words]
    memory = MEMORY if Path(MEMORY).is_dir() else None
    with (out / "log.txt").open("wb") as log, tempfile.TemporaryDirectory(dir=memory) as folder:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": folder}
        try:
            code = subprocess.run(command, stdout=log, stderr=log, env=environment, timeout=LONGEST_S).returncode
        except subprocess.TimeoutExpired:
            code = None
    if code != 0:
        faults.append(f"{door}: the fuzzer {'did not end' if code is None else f'ended with {code}'}: {out}/log.txt")
    listed, counted = out / "faults.txt", out / "count.txt"
    faults += [f"{door}: {line}" for line in listed.read_text().splitlines()] if listed.is_file() else []
    inputs = counted.read_text().strip() if counted.is_file() else "0"
    how = "guided by coverage" if importlib.util.find_spec("atheris") else "by chance"
    return Attempt(f"hostile input: {door}", "ended", faults, f"{inputs} inputs, {how}")
