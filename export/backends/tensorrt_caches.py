"""What TensorRT measured or compiled on a machine, kept for the next time; a cache is never a reason to fail.

Files are named by their place below the cache's root and begin with the sha256 of the rest.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

from mlkd.core.cache import cache_root, private
from mlkd.core.files import write_file

log = logging.getLogger(__name__)

DIGEST = hashlib.sha256().digest_size


def load_timings(config: Any, place: Path) -> None:
    """Give the full library's builder the kernel timings of earlier builds; stale or damaged ones are left out."""
    kept = _read(place)
    cache = config.create_timing_cache(kept)
    if cache is None or not config.set_timing_cache(cache, False):
        log.warning("%s: expected timings of this GPU and version, got others; they are measured again", place)
        config.set_timing_cache(config.create_timing_cache(b""), False)


def keep_timings(config: Any, place: Path) -> None:
    """Write what the builder knows now."""
    cache = config.get_timing_cache()
    if cache is not None:
        _write(place, cache.serialize())


class Kernels:
    """What TensorRT for RTX compiled for one engine on this machine: it does so at the first run, in seconds."""

    def __init__(self, engine: Any, place: Path) -> None:
        """Load what was kept; kernels of another GPU, driver or version are compiled again."""
        self._place, self._kept = place, _read(place)
        self._config = engine.create_runtime_config()
        self._cache = self._config.create_runtime_cache()
        if self._kept and not self._cache.deserialize(self._kept):
            log.warning("%s: expected kernels of this GPU and driver, got others; they are compiled again", place)
        if not self._config.set_runtime_cache(self._cache):
            log.warning("%s: expected a cache that the engine takes, got a refusal; every start compiles again", place)

    def context(self, engine: Any) -> Any:
        """An execution context that takes kernels from here and adds to them; None where the GPU has no room."""
        return engine.create_execution_context(self._config)

    def keep(self) -> None:
        """Write the kernels if there are new ones."""
        kernels = self._cache.serialize()
        if kernels is not None and bytes(kernels) != self._kept:
            _write(self._place, kernels)


def _read(place: Path) -> bytes:
    """What `_write` kept; empty if there is nothing, or nothing to trust."""
    try:
        content = (private(cache_root() / place.parent) / place.name).read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as cause:
        log.warning("%s: expected a cache to read, got: %s; going on without", place, cause)
        return b""
    digest, kept = content[:DIGEST], content[DIGEST:]
    if hashlib.sha256(kept).digest() != digest:
        log.warning("%s: expected what was kept, got a damaged file; it is made again", place)
        return b""
    return kept


def _write(place: Path, made: Any) -> None:
    """Keep the library's bytes; None, where it has none to give, changes nothing."""
    if made is None:
        return
    content = bytes(made)
    try:
        write_file(private(cache_root() / place.parent) / place.name, hashlib.sha256(content).digest() + content)
    except OSError as cause:
        log.warning("%s: expected a cache to keep it, got: %s; the next start or build is as slow", place, cause)
