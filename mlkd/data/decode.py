"""Decodes image files to uint8 arrays of every size, on all cores if there are many files."""

from __future__ import annotations

import hashlib
import multiprocessing
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from os import sched_getaffinity
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mlkd.core.files import create_array
from mlkd.core.image_kinds import UNREAD, unread_images
from mlkd.core.image_values import scaled
from mlkd.core.images import UnreadableImageError, decode, reduced, resize
from mlkd.core.progress import Progress
from mlkd.data.base import Finding, LeftOut, Sample
from mlkd.data.leakage import Decoded
from mlkd.data.shard_index.member import Member

CHUNK = 64  # images that a process takes at a time
MANY = 500  # images from which on it pays to start processes: two cores break even at about 500
UNREADABLE = "unreadable image"  # reason for which images are left out

File = Path | Member
Arrays = Mapping[int, Path | None]  # the .npy file by size; None: images are decoded, and not stored


@dataclass(frozen=True)
class DecodeResult:
    """Result of one file: the SHA-256 of its content or why it is unreadable, and how its values were scaled."""

    sha256: str = ""
    unreadable: str = ""
    scaled: str = ""


def decode_split(
    split: str, samples: Sequence[Sample], arrays: Arrays, progress: Progress, left_out: LeftOut
) -> tuple[list[Decoded], list[DecodeResult]]:
    """Decode a split into arrays by size, with a row for every image; unreadable images go to `left_out`.

    Returns the readable images, and a result for each of `samples`.
    """
    files = [sample.file for sample in samples]
    results = decode_files(files, arrays, lambda done: progress(f"decoding, {split}", done, len(files)))
    progress(f"decoding, {split}", len(files), len(files))
    decoded = []
    for row, (sample, result) in enumerate(zip(samples, results, strict=True)):
        if result.unreadable:
            left_out.add(UNREADABLE, sample.name, result.unreadable, sample.positives)
        else:
            decoded.append(Decoded(row, sample, result.sha256, split))
    return decoded, results


def decode_files(files: Sequence[File], arrays: Arrays, progress: Callable[[int], None]) -> list[DecodeResult]:
    """Fill a new (N, px, px, 3) .npy at every size from N files; the row of an unreadable file stays black.

    `progress` gets the number of files that are done.  Raises RuntimeError if a process dies.
    """
    for px, file in arrays.items():
        if file is not None:
            create_array(file, np.uint8, (len(files), px, px, 3)).flush()
    processes = len(sched_getaffinity(0))
    if processes > 1 and len(files) >= MANY:
        return _in_processes(files, arrays, progress, processes)
    results: list[DecodeResult] = []
    for start in range(0, len(files), CHUNK):
        progress(start)
        results += _decode_chunk(files[start : start + CHUNK], arrays, start)
    return results


def _in_processes(
    files: Sequence[File], arrays: Arrays, progress: Callable[[int], None], processes: int
) -> list[DecodeResult]:
    """Every process writes its own rows, so that the result does not depend on their order."""
    starts = range(0, len(files), CHUNK)
    results: dict[int, list[DecodeResult]] = {}
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"))
    try:
        tasks = {pool.submit(_decode_chunk, files[start : start + CHUNK], arrays, start): start for start in starts}
        workers = [child for child in multiprocessing.active_children() if child not in others]
        progress(0)
        for task in as_completed(tasks):
            results[tasks[task]] = task.result()
            progress(sum(map(len, results.values())))
    except BrokenProcessPool:
        pool.shutdown()
        unfinished = [start for start in starts if start not in results][:processes]  # tasks run in order
        suspects = files[unfinished[0] : unfinished[-1] + CHUNK]
        raise RuntimeError(_format_death([worker.exitcode for worker in workers], suspects)) from None
    finally:
        pool.shutdown(cancel_futures=True)
    return [result for start in starts for result in results[start]]


def _format_death(codes: Sequence[int | None], suspects: Sequence[File]) -> str:
    ended_by_pool = (None, 0, -signal.SIGTERM)
    codes = [code for code in codes if code not in ended_by_pool]
    killed = [signal.Signals(-code).name for code in codes if code is not None and code < 0]
    cause = ", ".join(killed) or f"exit code {codes[0] if codes else 'unknown'}"
    return (
        f"decoding: expected every process to finish, got one that died of {cause} at an image from {suspects[0]} to "
        f"{suspects[-1]}; SIGKILL usually means out of memory: free some, or remove that image, and rerun the command"
    )


def _decode_chunk(files: Sequence[File], arrays: Arrays, start: int) -> list[DecodeResult]:
    """Write the rows from `start` on in every array."""
    maps = {px: np.load(file, mmap_mode="r+") if file else None for px, file in arrays.items()}
    results: list[DecodeResult] = []
    for row, file in enumerate(files, start):
        try:
            content = file.read_bytes()
            views, scaled = decode_sizes(content, tuple(maps))
        except (UnreadableImageError, OSError) as cause:
            results.append(DecodeResult(unreadable=f"{file}: {cause}"))
            continue
        for px, view in views.items():
            if (array := maps[px]) is not None:
                array[row] = view
        results.append(DecodeResult(hashlib.sha256(content).hexdigest(), scaled=scaled))
    return results


def decode_sizes(content: bytes, sizes: Sequence[int]) -> tuple[dict[int, NDArray[np.uint8]], str]:
    """Decode to every size as `images.load` does, and say how values were scaled; equal scales share one decoding."""
    decoded: dict[object, Image.Image] = {}
    views = {}
    for px in sizes:
        scale = reduced(content, px)
        if scale not in decoded:
            decoded[scale] = decode(content, px)
        views[px] = resize(decoded[scale], px)
    return views, next((scaled(image) for image in decoded.values()), "")


def scaling_findings(results: Iterable[tuple[str, DecodeResult]]) -> list[Finding]:
    """Report the images, by name, whose values are not 8 bits and were scaled by a range."""
    names: dict[str, list[str]] = {}
    for name, result in results:
        names.setdefault(result.scaled, []).append(name)
    names.pop("", None)
    most_first = sorted(names.items(), key=lambda item: -len(item[1]))
    numbers = ", ".join(f"{len(some)} with {how} (first {some[0]})" for how, some in most_first)
    return [Finding("Values of some images were scaled to 8 bits.", f"{numbers}.")] if numbers else []


def unsupported_findings(samples: Iterable[Sample], left_out: LeftOut) -> list[Finding]:
    """Report unreadable files whose suffix is that of an unsupported image format."""
    suffixes = Counter(sample.file.suffix.lower() for sample in samples if sample.name in left_out.causes)
    numbers = unread_images({suffix: count for suffix, count in suffixes.items() if suffix in UNREAD})
    return [Finding("Some files are images of unsupported formats.", f"{numbers}.")] if numbers else []
