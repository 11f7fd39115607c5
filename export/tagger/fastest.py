"""How fast the engines of a bundle are on this machine: measured once, and remembered in the device's cache."""

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

from export.backends import Backend, Session, host
from export.bundle.manifest import EngineEntry, Manifest
from export.tagger.engine_choice import Measured, backend_of
from export.tagger.opening import built_here, open_engine
from export.tagger.reference import Golden, largest_difference, score_limit
from export.tagger.saturation_check import saturation
from export.tagger.timings import NoCacheError, Record, alone, file_of, read, trying, write

log = logging.getLogger(__name__)

TRIAL_S = 0.25
MOST_ENDS = 2  # one may have been a power cut


def measured(
    folder: Path, manifest: Manifest, *, threads: int | None = None, rebuild: bool = False, again: bool = False
) -> Measured:
    """As tried here, now or at an earlier call.

    The engines of a verified bundle are opened and checked one after another on its golden images, and timed for a
    quarter of a second each, unless the bundle has their times on this very machine with these runtimes; with `rebuild`
    those are built that can be, with `again` what is remembered is not enough.  Left out are those whose scores are not
    as expected, and one that ended the process twice while it was tried.  Where nothing can be remembered, a warning
    says so and the times are those of the bundle if it was measured on such a machine, its engines unchecked.  Raises
    OSError if the cache cannot take a rebuilt engine.
    """
    try:
        file = file_of(folder, threads)
        found = None if again else _whole(file, manifest, rebuild)
        if found is None:
            with alone(file):
                if not again:  # another process may have measured while this one waited
                    found = _whole(file, manifest, rebuild)
                found = found or _measure(folder, manifest, file, threads=threads, rebuild=rebuild)
    except NoCacheError as cause:
        log.warning("nothing is remembered on this device, no engine is timed: %s", cause)
        return Measured(p50_ms=_of_the_like(manifest), where="with the bundle", checked=False)
    return _told(found)


def remembered(folder: Path, manifest: Manifest, *, threads: int | None = None) -> Measured | None:
    """What an earlier call measured here; None if there was none, or if this device built another engine since."""
    with contextlib.suppress(NoCacheError):
        found = _whole(file_of(folder, threads), manifest, rebuild=False)
        if found is not None:
            return _told(found)
    return None


def _told(found: Record) -> Measured:
    where = "with the bundle" if found.shipped else f"here on {found.when}"
    return Measured(p50_ms=found.p50_ms, lacking=found.lacking, where=where)


def _of_the_like(manifest: Manifest) -> dict[str, float]:
    """What the bundle's engines took on a processor of this architecture."""
    if (manifest.measured_on or {}).get("architecture") != host.identity()["architecture"]:
        return {}
    return {entry.name: entry.p50_ms for entry in manifest.engines if entry.p50_ms is not None}


def _measured_here(manifest: Manifest) -> bool:
    """Whether the bundle's times are of this machine and these versions of the runtimes."""
    facts = host.identity()
    alike = {**(manifest.measured_on or {}), "runtimes": None} == {**facts, "runtimes": None}
    return alike and (manifest.measured_on or {}).get("runtimes") == host.runtimes()


def p50_ms(
    query: Callable[[NDArray[np.uint8]], Any],
    images: Sequence[NDArray[np.uint8]],
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Median time of a query of one image (1, H, W, 3), after one to warm up, for TRIAL_S."""
    query(images[0])
    began, taken = clock(), []
    for image in cycle(images):
        start = clock()
        query(image)
        end = clock()
        taken.append(end - start)
        if end - began >= TRIAL_S:
            break
    return statistics.median(taken) * 1000


def _whole(file: Path, manifest: Manifest, rebuild: bool) -> Record | None:
    """The record of a measurement that came to its end and still holds; one in which nothing ran never does."""
    found = read(file)
    if found is None or not found.when or not found.p50_ms:
        return None
    if (found.p50_ms.keys() | found.lacking.keys()) - {entry.name for entry in manifest.engines}:
        return None  # nothing that `write` writes
    return found if found.rebuild >= rebuild and found.built == _built(manifest) else None


def _measure(folder: Path, manifest: Manifest, file: Path, *, threads: int | None, rebuild: bool) -> Record:
    before, shipped = read(file), _measured_here(manifest)
    if not shipped and (before is None or not before.when):
        log.info("each engine that opens here is %stimed, once: the next start is quicker", "built or " * rebuild)
    tried = before.tried if before is not None else {}
    found = Record(built=[], rebuild=rebuild, tried=tried, shipped=shipped)
    golden = Golden.read(folder, manifest)
    for entry in manifest.engines:
        if found.tried.get(entry.name, 0) >= MOST_ENDS:
            again = f"--engine {entry.name} runs it all the same, without {file} it is tried again"
            found.lacking[entry.name] = f"it ended the process {MOST_ENDS} times while it was tried; {again}"
            continue
        with trying(file, found, entry.name):
            try:
                backend = backend_of(entry, threads)
                with open_engine(folder, manifest, entry, backend, rebuild=rebuild) as session:
                    _try(entry, backend, session, golden, found)
            except Exception as cause:  # every runtime raises classes of its own
                if rebuild and isinstance(cause, OSError):
                    raise
                found.lacking[entry.name] = " ".join(str(cause).split()) or type(cause).__name__
    found.built, found.when = _built(manifest), time.strftime("%Y-%m-%d")
    write(file, found)
    return found


def _try(entry: EngineEntry, backend: Backend, session: Session, golden: Golden, found: Record) -> None:
    """Record how fast an open engine is, or why it must not be used."""
    refusal = wrong(entry, backend, session, golden)
    if refusal is not None:
        found.lacking[entry.name] = refusal
        return
    known = entry.p50_ms if found.shipped else None
    found.p50_ms[entry.name] = known or p50_ms(session, [pixels[None] for pixels in golden.pixels])


def _built(manifest: Manifest) -> list[str]:
    """What this device built of the bundle, so that one more is measured too."""
    found = {name for entry in manifest.engines for name in built_here(manifest, entry, backend_of(entry))}
    return sorted(found)


def wrong(entry: EngineEntry, backend: Backend, session: Session, golden: Golden) -> str | None:
    """Why an engine that opens must not be used all the same."""
    images = [pixels[None] for pixels in golden.pixels]
    expected, found = golden.scores[entry.name], np.concatenate([session(image) for image in images])
    largest, limit = largest_difference(expected, found), score_limit(entry, session.runtime_info)
    if limit.allows(expected, found):
        return None
    if entry.precision.startswith("int8"):
        cause = saturation(session, backend, images, expected, found, limit)
        if cause is not None:
            return f"it gives wrong tags here: {cause}, more than {limit}"
    off = "no numbers" if largest is None else f"scores that differ by {largest:.2g}"
    return f"it gives wrong tags here: expected the scores of its self-test within {limit}, got {off}"
