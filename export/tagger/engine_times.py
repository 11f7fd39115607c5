"""Measures the engines of a bundle on this machine once, and caches their times."""

from __future__ import annotations

import contextlib
import logging
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.backends import Backend, Session, host, score_in_batches
from export.bundle.golden import Golden
from export.bundle.manifest import EngineEntry, Manifest
from export.tagger.engine_choice import EngineTimes, backend_of
from export.tagger.limits import WRONG_TAGS, score_limit
from export.tagger.opening import built_here, open_engine
from export.tagger.saturation_diagnosis import saturation
from export.tagger.times_cache import NoCacheError, Record, counting_crashes, exclusive, file_of, read, write

log = logging.getLogger(__name__)

MEASURED_S = 0.25
MOST_CRASHES = 2  # one of them may be a power cut


def measure_engines(
    folder: Path, manifest: Manifest, *, threads: int | None = None, rebuild: bool = False, again: bool = False
) -> EngineTimes:
    """Return the times of the engines on this machine, measured now or earlier.

    Each engine is opened, its scores of the golden images are checked, and it is timed for a quarter of a second,
    unless the bundle has times of this machine with these runtimes.  An engine with wrong scores, or one that crashed
    the process twice, is unusable.  Without a usable cache a warning is logged, and the times are those of the bundle
    if it was measured on a processor of this architecture; the engines are then unchecked.

    With `rebuild`, engines are built on this device where necessary (OSError if the cache has no room); with `again`,
    cached times are ignored.
    """
    try:
        file = file_of(folder, threads)
        record = None if again else _valid_record(file, manifest, rebuild)
        if record is None:
            with exclusive(file):
                if not again:  # another process may have measured in the meantime
                    record = _valid_record(file, manifest, rebuild)
                record = record or _measure(folder, manifest, file, threads=threads, rebuild=rebuild)
    except NoCacheError as cause:
        log.warning("no usable cache on this device, engines are not timed: %s", cause)
        return EngineTimes(p50_ms=_times_of_similar_machine(manifest), where="with the bundle", checked=False)
    return _times(record)


def cached_times(folder: Path, manifest: Manifest, *, threads: int | None = None) -> EngineTimes | None:
    """The times of an earlier measurement; None if there is none, or this device has built another engine since."""
    with contextlib.suppress(NoCacheError):
        record = _valid_record(file_of(folder, threads), manifest, rebuild=False)
        if record is not None:
            return _times(record)
    return None


def p50_ms(
    query: Callable[[NDArray[np.uint8]], Any],
    images: Sequence[NDArray[np.uint8]],
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Median time of a query of one image (1, H, W, 3), over MEASURED_S after one query as warm-up."""
    query(images[0])
    began, times = clock(), []
    for image in cycle(images):
        start = clock()
        query(image)
        end = clock()
        times.append(end - start)
        if end - began >= MEASURED_S:
            break
    return statistics.median(times) * 1000


def wrong_scores(entry: EngineEntry, backend: Backend, session: Session, golden: Golden) -> str | None:
    """Say how the scores of an open engine differ from the expected ones; None if they are within the limit."""
    pixels = np.stack(golden.pixels)
    expected, actual = golden.scores[entry.name], score_in_batches(session, pixels, 1)
    limit = score_limit(entry, session.runtime_info)
    wrong = limit.wrong_tags(expected, actual)
    if wrong is not None and entry.precision.startswith("int8"):
        cause = saturation(session, backend, pixels, expected, actual, limit)
        if cause is not None:
            return f"{WRONG_TAGS}: {cause}, more than {limit}"
    return wrong


def _times(record: Record) -> EngineTimes:
    where = "with the bundle" if record.from_bundle else f"here on {record.when}"
    return EngineTimes(p50_ms=record.p50_ms, unusable=record.unusable, where=where)


def _times_of_similar_machine(manifest: Manifest) -> dict[str, float]:
    """The bundle's times, if measured on a processor of this architecture."""
    if (manifest.measured_on or {}).get("architecture") != host.identity()["architecture"]:
        return {}
    return {entry.name: entry.p50_ms for entry in manifest.engines if entry.p50_ms is not None}


def _was_measured_here(manifest: Manifest) -> bool:
    """Whether the bundle's times are of this machine and these versions of the runtimes."""
    measured_on = manifest.measured_on or {}
    is_equal = {**measured_on, "runtimes": None} == {**host.identity(), "runtimes": None}
    return is_equal and measured_on.get("runtimes") == host.runtimes()


def _valid_record(file: Path, manifest: Manifest, rebuild: bool) -> Record | None:
    """The record of a complete measurement that is up to date and in which an engine ran."""
    record = read(file)
    if record is None or not record.when or not record.p50_ms:
        return None
    if (record.p50_ms.keys() | record.unusable.keys()) - {entry.name for entry in manifest.engines}:
        return None  # not written by `write`
    return record if record.rebuild >= rebuild and record.built == _built(manifest) else None


def _measure(folder: Path, manifest: Manifest, file: Path, *, threads: int | None, rebuild: bool) -> Record:
    before, from_bundle = read(file), _was_measured_here(manifest)
    if not from_bundle and (before is None or not before.when):
        log.info("engines are %stimed once; the next start is faster", "built where necessary and " * rebuild)
    crashes = before.crashes if before is not None else {}
    record = Record(built=[], rebuild=rebuild, crashes=crashes, from_bundle=from_bundle)
    golden = Golden.read(folder, manifest)
    for entry in manifest.engines:
        if record.crashes.get(entry.name, 0) >= MOST_CRASHES:
            again = f"--engine {entry.name} runs it all the same; delete {file} to test it again"
            record.unusable[entry.name] = f"it crashed the process {MOST_CRASHES} times; {again}"
            continue
        with counting_crashes(file, record, entry.name):
            try:
                backend = backend_of(entry, threads)
                with open_engine(folder, manifest, entry, backend, rebuild=rebuild) as session:
                    _measure_one(entry, backend, session, golden, record)
            except Exception as cause:  # every runtime raises its own classes
                if rebuild and isinstance(cause, OSError):
                    raise
                record.unusable[entry.name] = " ".join(str(cause).split()) or type(cause).__name__
    record.built, record.when = _built(manifest), time.strftime("%Y-%m-%d")
    write(file, record)
    return record


def _measure_one(entry: EngineEntry, backend: Backend, session: Session, golden: Golden, record: Record) -> None:
    """Record the time of an open engine, or why it is unusable."""
    reason = wrong_scores(entry, backend, session, golden)
    if reason is not None:
        record.unusable[entry.name] = reason
        return
    known = entry.p50_ms if record.from_bundle else None
    record.p50_ms[entry.name] = known or p50_ms(session, [pixels[None] for pixels in golden.pixels])


def _built(manifest: Manifest) -> list[str]:
    """Names of the engines that this device has built for the bundle."""
    return sorted({name for entry in manifest.engines for name in built_here(manifest, entry, backend_of(entry))})
