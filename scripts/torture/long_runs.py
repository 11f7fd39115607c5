"""Long runs: memory, open files, threads and processes do not grow."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from scripts.torture import kills, one_stage
from scripts.torture.attempt import Attempt
from scripts.torture.marked import Marked, free_port, send

STEPS, REQUESTS, IMAGES, PROCESSES = 5_000, 10_000, 10_000, 300
TRAIN, SERVE = f"{STEPS:,} training steps with a data worker", f"{REQUESTS:,} requests to serve"
TAG, BENCH = f"{IMAGES:,} images by one tag", f"{PROCESSES} processes of bench"
WANTED = {TRAIN: 1, SERVE: 1, TAG: 1, BENCH: 1}
EVERY_S = 0.25
LARGER, LARGER_BYTES = 0.05, 8e6  # growth from the second to the last quarter of a run that is none: a share, and more
MORE = 2  # likewise of files, threads and processes
CLIENTS = 4


@dataclass(frozen=True)
class Usage:
    """What a program and all that it started hold at one moment."""

    memory: int  # bytes, sum of the resident sets
    files: int
    threads: int
    processes: int


def attempts(work: Path, what: str, count: int, *, seed: int) -> Iterator[Attempt]:
    """Make a long run `count` times."""
    reference = kills.undisturbed(work)
    for _ in range(seed, seed + count):
        yield {TRAIN: _train, SERVE: _serve, TAG: _tag, BENCH: _bench}[what](work, reference)


def _train(work: Path, reference: Path) -> Attempt:
    """Train the teacher; the first stage composes its images."""
    epochs, batch = 10, 16
    changes = {"train: 64": f"train: {STEPS // epochs * batch}", "epochs: 2": f"epochs: {epochs}"}
    folder = _changed(work, reference, "data", changes)
    assert one_stage.run(folder, "data") is not None
    return watch(TRAIN, one_stage.start(folder, "teacher"))


def _bench(work: Path, reference: Path) -> Attempt:
    engines = len(re.findall(r"{name: onnxruntime|{name: openvino", (reference / "tiny.yaml").read_text()))
    folder = _changed(work, reference, "bench", {"processes: 1": f"processes: {PROCESSES // engines}"})
    return watch(BENCH, one_stage.start(folder, "bench"))


def _tag(work: Path, reference: Path) -> Attempt:
    folder = work / "many"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    images = one_stage.test_images(reference)
    for number in range(IMAGES):
        os.link(images[number % len(images)], folder / f"{number:05}.jpg")
    attempt = watch(TAG, Marked(work, [sys.executable, _program(reference), "tag", "--json", folder]))
    if (count := (work / "log.txt").read_bytes().count(b'"tags"')) != IMAGES:
        attempt.faults.append(f"expected {IMAGES} results, got {count}")
    return attempt


def _serve(work: Path, reference: Path) -> Attempt:
    port, image = free_port(), one_stage.test_images(reference)[0].read_bytes()
    running = Marked(work, [sys.executable, _program(reference), "serve", "--quiet", "--port", str(port)])
    while "listening" not in running.output() and running.wait(0.05) is None:
        pass

    def ask(count: int) -> set[bytes]:
        answers = set()
        for first in range(0, count, 100):  # a new connection now and then
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            for _ in range(first, min(first + 100, count)):
                connection.request("POST", "/tag", image, {"Content-Type": "image/jpeg"})
                answers.add(connection.getresponse().read())
            connection.close()
        return answers

    with ThreadPoolExecutor(CLIENTS) as clients:
        asked = [clients.submit(ask, REQUESTS // CLIENTS) for _ in range(CLIENTS)]
        attempt = watch(SERVE, running, until=lambda: all(one.done() for one in asked))
    answers = set.union(*(one.result() for one in asked))
    if len(answers) != 1 or b'"tags"' not in min(answers):
        attempt.faults.append(f"expected one answer, got {len(answers)}: {min(answers)[:100]!r}")
    return attempt


def _program(reference: Path) -> Path:
    return reference / "dist/tiny/tagger.pyz"


def _changed(work: Path, reference: Path, stage: str, changes: dict[str, str]) -> Path:
    """Copy a run until a stage, and change the recipe."""
    folder = one_stage.copy_before(work, reference, stage)
    recipe = folder / "tiny.yaml"
    text = recipe.read_text()
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    recipe.write_text(text)
    return folder


def watch(what: str, running: Marked, until: Callable[[], bool] = lambda: False, every_s: float = EVERY_S) -> Attempt:
    """Sample what a program holds until it ends, or until it is not needed any more and is stopped."""
    began, used = time.monotonic(), []
    while running.wait(every_s) is None and not until():
        used.append(_usage([running.process.pid, *running.children()]))
    seconds = time.monotonic() - began
    send(running.process.pid, signal.SIGTERM)
    code = running.wait(kills.END_S)
    running.kill()
    faults = [] if code == 0 else [f"ended with {code}: {running.tail()}"]
    quarter = max(1, len(used) // 4)
    early, late = used[quarter : 2 * quarter], used[-quarter:]
    memory = [sum(one.memory for one in part) / len(part) for part in (early, late)]
    if memory[1] > memory[0] * (1 + LARGER) + LARGER_BYTES:
        faults.append(f"memory grew from {memory[0] / 1e6:.1f} to {memory[1] / 1e6:.1f} MB")
    notes = [f"{seconds:.0f} s, memory {memory[0] / 1e6:.1f} -> {memory[1] / 1e6:.1f} MB"]
    for name in ("files", "threads", "processes"):
        before, after = (max(getattr(one, name) for one in part) for part in (early, late))
        notes.append(f"{name} {before} -> {after}")
        if after > before + MORE:
            faults.append(f"{name} grew from {before} to {after}")
    return Attempt(what, "ended", faults, ", ".join(notes))


def _usage(pids: Sequence[int]) -> Usage:
    memory = files = threads = processes = 0
    for pid in pids:
        with suppress(OSError):
            folder = Path(f"/proc/{pid}")
            memory += int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            files += len(list((folder / "fd").iterdir()))
            threads += len(list((folder / "task").iterdir()))
            processes += 1
    return Usage(memory, files, threads, processes)
