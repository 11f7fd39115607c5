"""What TensorRT measured or compiled on a machine, kept for the next time; a cache is never a reason to fail."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from mlkd import whole_file

log = logging.getLogger(__name__)


def load_timings(config: Any, file: Path) -> None:
    """Give the full library's builder the kernel timings of earlier builds; stale or damaged ones are left out."""
    kept = _read(file)
    cache = config.create_timing_cache(kept)
    if cache is None or not config.set_timing_cache(cache, False):
        log.warning("%s: expected timings of this GPU and version, got others; they are measured again", file)
        config.set_timing_cache(config.create_timing_cache(b""), False)


def keep_timings(config: Any, file: Path) -> None:
    """Write what the builder knows now."""
    cache = config.get_timing_cache()
    _write(file, bytes(cache.serialize()))


class Kernels:
    """What TensorRT for RTX compiled for one engine on this machine: it does so at the first run, in seconds."""

    def __init__(self, engine: Any, file: Path) -> None:
        """Load what `file` holds; kernels of another GPU, driver or version are compiled again."""
        self._file, self._kept = file, _read(file)
        self._config = engine.create_runtime_config()
        self._cache = self._config.create_runtime_cache()
        if self._kept and not self._cache.deserialize(self._kept):
            log.warning("%s: expected kernels of this GPU and driver, got others; they are compiled again", file)
        self._config.set_runtime_cache(self._cache)

    def context(self, engine: Any) -> Any:
        """An execution context that takes kernels from here and adds to them."""
        return engine.create_execution_context(self._config)

    def keep(self) -> None:
        """Write the kernels if there are new ones."""
        kernels = bytes(self._cache.serialize())
        if kernels != self._kept:
            _write(self._file, kernels)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as cause:
        log.warning("%s: expected a file to read, got: %s; going on without", file, cause)
        return b""


def _write(file: Path, content: bytes) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        whole_file.write(file, content)
    except OSError as cause:
        log.warning("%s: expected room to keep it, got: %s; the next start or build is as slow", file, cause)
