"""What every runtime offers: a backend compiles and opens engines, a session turns pictures into scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class MissingRuntime(RuntimeError):  # noqa: N818  (it says what is missing, as the callers print it)
    """A package, device or instruction set that an engine needs is not here; the message names it and the next step."""


class EngineRefused(ValueError):  # noqa: N818
    """A file that is no engine of this backend; the message names the file, what was expected, what was found."""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a session really runs on, read back from the runtime."""

    provider: str
    device: str
    compute: str  # "f32", "bf16", "f16" or "int8": what the products are computed in
    version: str  # runtime and its version


class Session(ABC):
    """An open engine; a context manager, because it holds the runtime's memory.  Not for several threads at once."""

    def __init__(self, engine: Path, ran: Ran, picture: tuple[int, ...], max_batch: int | None = None) -> None:
        """`picture` is the engine's input without the batch: (H, W, 3)."""
        self.engine = engine
        self.ran = ran
        self.picture = picture
        self.max_batch = max_batch
        self._open = True

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (B, H, W, 3) to new float32 scores (B, L); ValueError for any other dtype or shape."""
        if not self._open:
            raise ValueError(f"{self.engine.name}: expected an open session, got a closed one; open the engine again")
        self._check(images)
        return self._run(np.ascontiguousarray(images))

    def close(self) -> None:
        """Release the runtime's memory; may be called again."""
        if self._open:
            self._open = False
            self._release()

    def _check(self, images: NDArray[Any]) -> None:
        expected = f"{self.engine.name}: images: expected uint8 (B, {', '.join(map(str, self.picture))})"
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != self.picture:
            raise ValueError(f"{expected}, got {images.dtype} {images.shape}; resize with mlkd.images")
        most = self.max_batch or images.shape[0]
        if not 1 <= images.shape[0] <= most:
            limit = f"1..{self.max_batch}" if self.max_batch else "at least 1"
            raise ValueError(f"{expected} with B {limit}, got {images.shape[0]} pictures; cut the batch")

    @abstractmethod
    def _run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Scores of checked, contiguous images, in memory that the runtime does not reuse."""

    @abstractmethod
    def _release(self) -> None:
        """Let go of the runtime's objects; called once."""

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Compiler(Protocol):
    """The shape of every backend: a frozen dataclass with a `kind`, see the union in export.backends."""

    @property
    def kind(self) -> str:
        """The word for it in recipes and manifests."""

    def compile(self, model: Path, out_dir: Path) -> Path:
        """Turn a graph into the engine file in `out_dir`; may run on another machine than `open`."""

    def open(self, engine: Path) -> Session:
        """Open an engine; raises EngineRefused for a foreign file, MissingRuntime if it cannot run here."""

    def missing(self) -> str | None:
        """Why no engine of this backend can run here, with the next step; None if it can."""

    def files(self, engine: Path) -> tuple[Path, ...]:
        """All files that the engine consists of, itself first."""


def check_file(engine: Path, suffixes: tuple[str, ...], runtime: str) -> None:
    """EngineRefused unless `engine` is a file with one of `suffixes`."""
    if engine.suffix not in suffixes:
        raise EngineRefused(f"{engine}: expected an engine of {runtime} ({' or '.join(suffixes)}), got {engine.name}")
    if not engine.is_file():
        raise EngineRefused(f"{engine}: expected an engine file, got none; export it again")
