"""How near tag_many comes to what decoding and engine allow together, and how soon a process gives its first tag.

Run it as `python -m scripts.speed.tagging BUNDLE [ENGINE ...]`.  With C cores, d seconds to decode and resize an image
and e seconds to score one, each measured alone on one thread in the same batches, the bound is C / (d + e).  Where
others use the machine too, C processes that decode and score in turn, each with a session of its own, say what is left.
"""

from __future__ import annotations

import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from export.backends.host import allowed
from export.bundle.bundle import read_bundle
from export.tagger import Tagger, tag_many
from export.tagger.engine_times import measure_engines
from export.tagger.parallel import BATCH
from scripts.speed.data import draw

ROUNDS, STARTS = 7, 15


def in_turn(tagger: Tagger, files: Sequence[Path]) -> None:
    for at in range(0, len(files), BATCH):
        tagger.scores(np.stack([tagger.resize(tagger.decode(file)) for file in files[at : at + BATCH]]))


def alone(folder: Path, engine: str, files: Sequence[Path], orders: Connection) -> None:
    with Tagger.load(folder, engine) as tagger:
        orders.send(0.0)
        while orders.recv():
            start = time.perf_counter()
            in_turn(tagger, files)
            orders.send(len(files) / (time.perf_counter() - start))


def decode_and_score_s(tagger: Tagger, files: Sequence[Path]) -> tuple[float, float]:
    """Seconds an image, each alone."""
    start = time.perf_counter()
    pixels = [tagger.resize(tagger.decode(file)) for file in files]
    middle = time.perf_counter()
    for at in range(0, len(files), BATCH):
        tagger.scores(np.stack(pixels[at : at + BATCH]))
    return (middle - start) / len(files), (time.perf_counter() - middle) / len(files)


def images_per_s(folder: Path, engine: str, files: Sequence[Path]) -> str:
    cores, rows = len(allowed()), []
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        tagger = stack.enter_context(Tagger.load(folder, engine, workers=cores))
        ends = []
        for _ in range(cores):
            here, there = context.Pipe()
            context.Process(target=alone, args=(folder, engine, files, there), daemon=True).start()
            stack.callback(here.send, False)
            ends.append(here)
        for end in ends:
            end.recv()
        for _ in range(ROUNDS):
            for end in ends:
                end.send(True)
            processes = sum(end.recv() for end in ends)
            decode_s, score_s = decode_and_score_s(tagger, files)
            start = time.perf_counter()
            with closing(tag_many(tagger, files)) as found:
                count = sum(1 for _ in found)
            rows.append((decode_s, score_s, processes, count / (time.perf_counter() - start)))
    decode_s, score_s, processes, many = (statistics.median(column) for column in zip(*rows, strict=True))
    of_bound = statistics.median(rate * (d + e) / cores for d, e, _, rate in rows)
    of_processes = statistics.median(rate / there for _, _, there, rate in rows)
    return (
        f"{engine:24} decode {decode_s * 1e3:6.3f} ms  engine {score_s * 1e3:6.3f} ms  tag_many {many:6.0f} images/s:"
        f"  {of_bound:4.0%} of the bound {cores / (decode_s + score_s):6.0f}"
        f"  {of_processes:4.0%} of {cores} processes {processes:6.0f}"
    )


def first_tag_s(folder: Path, engine: str, image: Path) -> str:
    command = [sys.executable, str(folder / "tagger.pyz"), "tag", "--engine", engine, str(image)]
    taken = []
    for _ in range(STARTS):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        taken.append(time.perf_counter() - start)
    return f"{engine:24} first tag after {statistics.median(taken):.2f} s, p50 of {STARTS}; least {min(taken):.2f} s"


def main() -> None:
    folder = Path(sys.argv[1])
    manifest = read_bundle(folder)
    times = measure_engines(folder, manifest)
    engines = sys.argv[2:] or ([*times.p50_ms] if times else [manifest.engines[0].name])
    with tempfile.TemporaryDirectory() as name:
        files = draw(Path(name))
        for engine in engines:
            print(first_tag_s(folder, engine, files[0]))
            print(images_per_s(folder, engine, files))


if __name__ == "__main__":
    main()
