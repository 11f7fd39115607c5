"""What every runtime offers: a backend compiles and opens engines, a session turns images into scores."""

from __future__ import annotations

import contextlib
import errno
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from export.backends import stamp
from export.errors import EngineError

MOST_THREADS = 1024
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, kw_only=True)
class RuntimeInfo:
    """What a session really runs on, read back from the runtime."""

    provider: str
    device: str
    compute: str  # "f32", "bf16", "f16" or "int8": what the products are computed in
    version: str  # runtime and its version
    placed: float  # share of the graph's nodes on the provider and device asked for, 0..1


class Session(ABC):
    """An open engine; a context manager, because it holds the runtime's memory.  Not for several threads at once."""

    def __init__(
        self, engine: Path, runtime_info: RuntimeInfo, image: tuple[int, ...], max_batch: int | None = None
    ) -> None:
        """`image` is the engine's input without the batch: (H, W, 3)."""
        self.engine = engine
        self.runtime_info = runtime_info
        self.image = image
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
        most = self.max_batch or images.shape[0] if images.ndim else 0
        if images.dtype == np.uint8 and images.shape[1:] == self.image and 1 <= images.shape[0] <= most:
            return  # the message waits for a fault: it takes longer than the check
        expected = f"{self.engine.name}: images: expected uint8 (B, {', '.join(map(str, self.image))})"
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != self.image:
            raise ValueError(f"{expected}, got {images.dtype} {images.shape}; resize with mlkd.core.images")
        limit = f"1..{self.max_batch}" if self.max_batch else "at least 1"
        raise ValueError(f"{expected} with B {limit}, got {images.shape[0]} images; cut the batch")

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
        """Open an engine; raises EngineError for a foreign file, MissingRuntimeError if it cannot run here."""

    def missing(self) -> str | None:
        """Why no engine of this backend can run here, with the next step; None if it can."""

    def files(self, engine: Path) -> tuple[Path, ...]:
        """All files that the engine consists of, itself first, its stamp last."""


def in_float(session: Session, integer: Sequence[str], advice: str) -> Session:
    """The session; EngineError, with it closed, if it multiplies integers in the layers `integer`."""
    if not integer:
        return session
    session.close()
    got = ", ".join(integer[:5])
    raise EngineError(f"{session.engine}: expected products in float, got {got} in integers; {advice}")


def check_threads(kind: str, threads: int) -> None:
    """ValueError for a number that no machine has, which a runtime would try to start."""
    if type(threads) is not int or not 1 <= threads <= MOST_THREADS:
        raise ValueError(f"{kind}.threads: expected 1 to {MOST_THREADS}, got {threads!r}")


def check_file(engine: Path, suffixes: tuple[str, ...], runtime: str) -> None:
    """EngineError unless `engine` is a file with one of `suffixes`."""
    if engine.suffix not in suffixes:
        raise EngineError(f"{engine}: expected an engine of {runtime} ({' or '.join(suffixes)}), got {engine.name}")
    if not engine.is_file():
        raise EngineError(f"{engine}: expected an engine file, got none; export it again")


def check_stamp(engine: Path, package: str) -> stamp.Stamp:
    """The engine's stamp; EngineError if it is missing, damaged or of another runtime than `package`."""
    found = stamp.read(engine)
    if found.runtime.split()[0] != package:
        raise EngineError(f"{engine}: expected an engine of {package}, got one of {found.runtime}; export it again")
    return found


@contextlib.contextmanager
def written_whole(out_dir: Path) -> Iterator[Path]:
    """A folder for an engine's files, which go to `out_dir` together, the stamp last, or not at all.

    OSError says so when there is no room.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=out_dir, prefix=".engine-") as folder:
            yield Path(folder)
            files = sorted(Path(folder).iterdir(), key=lambda file: file.suffixes[-2:] == [".stamp", ".json"])
            for file in files:
                stamp.path_of(out_dir / file.name).unlink(missing_ok=True)  # it belongs to the older engine
            for file in files:
                file.replace(out_dir / file.name)
    except OSError as cause:
        if cause.errno in NO_ROOM:
            raise no_room(out_dir, cause) from cause
        raise


def no_room(out_dir: Path, cause: Exception) -> OSError:
    """The error of an engine that could not be written whole."""
    free = shutil.disk_usage(out_dir).free / 1e6
    text = f"{out_dir}: expected room for an engine, got: {cause}; {free:.0f} MB are free: make room and run it again"
    return OSError(errno.ENOSPC, text)


def most(computes: Iterable[str]) -> str:
    """The commonest; "none" where a graph multiplies nothing."""
    counted = Counter(computes).most_common(1)
    return counted[0][0] if counted else "none"
