"""Caches what TensorRT measures or compiles on a machine; an unusable cache is no error.

Paths are relative to the cache's root; files start with the SHA-256 of the rest.
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
    """Load kernel timings of earlier builds into the full library's builder; stale or damaged ones are ignored."""
    cache = config.create_timing_cache(_read(place))
    if cache is None or not config.set_timing_cache(cache, False):
        log.warning("%s: expected timings of this GPU and version, got others; measuring again", place)
        config.set_timing_cache(config.create_timing_cache(b""), False)


def save_timings(config: Any, place: Path) -> None:
    """Write the builder's timings."""
    cache = config.get_timing_cache()
    if cache is not None:
        _write(place, cache.serialize())


class Kernels:
    """The kernels of one engine that TensorRT for RTX compiles at the first run on a machine, which takes seconds."""

    def __init__(self, engine: Any, place: Path) -> None:
        """Load the cached kernels; those of another GPU, driver or version are compiled again."""
        self._place, self._cached = place, _read(place)
        self._config = engine.create_runtime_config()
        self._cache = self._config.create_runtime_cache()
        if self._cached and not self._cache.deserialize(self._cached):
            log.warning("%s: expected kernels of this GPU and driver, got others; compiling again", place)
        if not self._config.set_runtime_cache(self._cache):
            log.warning("%s: expected the engine to accept a cache, got a refusal; every start compiles again", place)

    def context(self, engine: Any) -> Any:
        """Create an execution context that uses and extends these kernels; None if the GPU's memory is full."""
        return engine.create_execution_context(self._config)

    def save(self) -> None:
        """Write the kernels if there are new ones."""
        kernels = self._cache.serialize()
        if kernels is not None and bytes(kernels) != self._cached:
            _write(self._place, kernels)


def _read(place: Path) -> bytes:
    """The content that `_write` wrote; empty if there is none or it is damaged."""
    try:
        content = (private(cache_root() / place.parent) / place.name).read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as cause:
        log.warning("%s: expected a cache to read, got: %s; continuing without", place, cause)
        return b""
    digest, cached = content[:DIGEST], content[DIGEST:]
    if hashlib.sha256(cached).digest() != digest:
        log.warning("%s: expected a whole file, got a damaged one; creating it again", place)
        return b""
    return cached


def _write(place: Path, made: Any) -> None:
    """Write the library's bytes; None, where it has nothing to cache, changes nothing."""
    if made is None:
        return
    content = bytes(made)
    try:
        write_file(private(cache_root() / place.parent) / place.name, hashlib.sha256(content).digest() + content)
    except OSError as cause:
        log.warning("%s: expected a writable cache, got: %s; the next start or build is as slow", place, cause)
