"""Images to uint8 arrays of every size, by all cores where there are many."""

from __future__ import annotations

import hashlib
import multiprocessing
import signal
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from os import sched_getaffinity
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mlkd.core.files import create_array
from mlkd.core.image_values import scaled
from mlkd.core.images import UnreadableImageError, decode, reduced, resize
from mlkd.data.base import Finding

CHUNK = 64  # images a process takes at a time
MANY = 500  # images from which on it pays to start processes: with two cores it is even at about 500


@dataclass(frozen=True)
class Reading:
    """What came of a file: the hash of its content or why it is left out, and how its values were scaled."""

    sha256: str = ""
    unreadable: str = ""
    scaled: str = ""


def decode_files(files: Sequence[Path], arrays: dict[int, Path], told: Callable[[int], None]) -> list[Reading]:
    """Fill a new (N, px, px, 3) .npy at every size from N files; the row of an unreadable one stays black.

    `told` hears how many are done.  Raises RuntimeError when a process dies.
    """
    for px, file in arrays.items():
        create_array(file, np.uint8, (len(files), px, px, 3)).flush()
    processes = len(sched_getaffinity(0))
    if processes == 1 or len(files) < MANY:
        return _alone(files, arrays, told)
    return _together(files, arrays, told, processes)


def _alone(files: Sequence[Path], arrays: dict[int, Path], told: Callable[[int], None]) -> list[Reading]:
    readings: list[Reading] = []
    for start in range(0, len(files), CHUNK):
        told(start)
        readings += _decode_chunk(files[start : start + CHUNK], arrays, start)
    return readings


def _together(
    files: Sequence[Path], arrays: dict[int, Path], told: Callable[[int], None], processes: int
) -> list[Reading]:
    """Every process writes its own rows, so that nothing depends on who is first."""
    starts = range(0, len(files), CHUNK)
    found: dict[int, list[Reading]] = {}
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"))
    try:
        tasks = {pool.submit(_decode_chunk, files[start : start + CHUNK], arrays, start): start for start in starts}
        workers = [child for child in multiprocessing.active_children() if child not in others]
        told(0)
        for task in as_completed(tasks):
            found[tasks[task]] = task.result()
            told(sum(map(len, found.values())))
    except BrokenProcessPool:
        pool.shutdown()
        left = [start for start in starts if start not in found][:processes]  # they are worked on in order
        suspects = files[left[0] : left[-1] + CHUNK]
        raise RuntimeError(_died([worker.exitcode for worker in workers], suspects)) from None
    finally:
        pool.shutdown(cancel_futures=True)
    return [reading for start in starts for reading in found[start]]


def _died(codes: Sequence[int | None], suspects: Sequence[Path]) -> str:
    ended_by_pool = (None, 0, -signal.SIGTERM)
    codes = [code for code in codes if code not in ended_by_pool]
    killed = [signal.Signals(-code).name for code in codes if code is not None and code < 0]
    cause = ", ".join(killed) or f"exit code {codes[0] if codes else 'unknown'}"
    return (
        f"decoding: expected every process to finish, got one that died of {cause} at an image from {suspects[0]} to "
        f"{suspects[-1]}; SIGKILL is most often want of memory: free some, else take that image away, and start again"
    )


def _decode_chunk(files: Sequence[Path], arrays: dict[int, Path], start: int) -> list[Reading]:
    """Write rows `start` and on of every array."""
    maps = {px: np.load(file, mmap_mode="r+") for px, file in arrays.items()}
    readings: list[Reading] = []
    for row, file in enumerate(files, start):
        try:
            content = file.read_bytes()
            views, scaled = decode_sizes(content, tuple(maps))
        except (UnreadableImageError, OSError) as cause:
            readings.append(Reading(unreadable=f"{file}: {cause}"))
            continue
        for px, view in views.items():
            maps[px][row] = view
        readings.append(Reading(hashlib.sha256(content).hexdigest(), scaled=scaled))
    return readings


def decode_sizes(content: bytes, sizes: Sequence[int]) -> tuple[dict[int, NDArray[np.uint8]], str]:
    """What `images.load` gives at every size, and how values were scaled; equal reduced scales share one decoding."""
    decoded: dict[object, Image.Image] = {}
    views = {}
    for px in sizes:
        scale = reduced(content, px)
        if scale not in decoded:
            decoded[scale] = decode(content, px)
        views[px] = resize(decoded[scale], px)
    return views, next((scaled(image) for image in decoded.values()), "")


def scaled_findings(readings: Iterable[tuple[str, Reading]]) -> list[Finding]:
    """Tells of images, by name, whose values are not 8 bits and were scaled by a range."""
    names: dict[str, list[str]] = {}
    for name, reading in readings:
        names.setdefault(reading.scaled, []).append(name)
    names.pop("", None)
    most_first = sorted(names.items(), key=lambda item: -len(item[1]))
    told = ", ".join(f"{len(some)} with {how} (first {some[0]})" for how, some in most_first)
    return [Finding("Values of some images were scaled to 8 bits.", f"{told}.")] if told else []
