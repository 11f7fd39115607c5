"""What all backends share: sessions, checks, and files that are written as a whole."""

from __future__ import annotations

import contextlib
import errno
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.backends import stamp
from export.errors import EngineError
from mlkd.core.onnx_data import locations
from mlkd.core.printable import is_utf8

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_THREADS = 1024
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, kw_only=True)
class RuntimeInfo:
    """What a session runs on, as the runtime reports it."""

    provider: str
    device: str
    compute: str  # "f32", "bf16", "f16" or "int8": the type of most products
    version: str  # runtime and its version
    placed: float  # share of the graph's nodes on the requested provider and device, 0..1


class Session(ABC):
    """An open engine.  A context manager, because it holds the runtime's memory; not thread-safe."""

    def __init__(
        self, engine: Path, runtime_info: RuntimeInfo, image: tuple[int, ...], max_batch: int | None = None
    ) -> None:
        """Store what is known of the open engine.

        Args:
            engine: The file.
            runtime_info: What the engine runs on.
            image: Shape of its input without the batch, (H, W, 3).
            max_batch: The largest batch it accepts; None for no limit.
        """
        self.engine = engine
        self.runtime_info = runtime_info
        self.image = image
        self.max_batch = max_batch
        self._open = True

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Score images.

        Args:
            images: uint8 (B, H, W, 3).

        Returns:
            Scores 0..1, float32 (B, L), in memory that later calls do not reuse.

        Raises:
            ValueError: Another dtype or shape, too large a batch, or a closed session.
        """

        import numpy as np

        if not self._open:
            raise ValueError(f"{self.engine.name}: expected an open session, got a closed one; open the engine again")
        self._check(images)
        return self._run(np.ascontiguousarray(images))

    def close(self) -> None:
        """Release the runtime's memory; closing twice is allowed."""
        if self._open:
            self._open = False
            self._release()

    def _check(self, images: NDArray[Any]) -> None:
        import numpy as np

        largest = self.max_batch or images.shape[0] if images.ndim else 0
        if images.dtype == np.uint8 and images.shape[1:] == self.image and 1 <= images.shape[0] <= largest:
            return  # before any text is formatted, which takes longer than the check
        expected = f"{self.engine.name}: images: expected uint8 (B, {', '.join(map(str, self.image))})"
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != self.image:
            raise ValueError(f"{expected}, got {images.dtype} {images.shape}; resize with mlkd.core.images")
        limit = f"1..{self.max_batch}" if self.max_batch else "at least 1"
        raise ValueError(f"{expected} with B {limit}, got {images.shape[0]} images; use a smaller batch")

    @abstractmethod
    def _run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Score checked, contiguous images into memory that the runtime does not reuse."""

    @abstractmethod
    def _release(self) -> None:
        """Delete the runtime's objects; called once."""

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def score_in_batches(
    score: Callable[[NDArray[np.uint8]], NDArray[np.float32]], images: NDArray[np.uint8], batch: int
) -> NDArray[np.float32]:
    """Score images (N, H, W, 3), possibly memory-mapped, in batches of at most `batch`; returns (N, L)."""

    import numpy as np

    parts = [score(np.array(images[start : start + batch])) for start in range(0, len(images), batch)]
    return np.concatenate(parts)


def require_float_products(session: Session, integer: Sequence[str], advice: str) -> Session:
    """Return the session; if it multiplies integers in the layers `integer`, close it and raise EngineError."""
    if not integer:
        return session
    session.close()
    got = ", ".join(integer[:5])
    raise EngineError(f"{session.engine}: expected products in float, got {got} in integers; {advice}")


def check_threads(kind: str, threads: int) -> None:
    """Raise ValueError for a number of threads that is out of range."""
    if type(threads) is not int or not 1 <= threads <= MOST_THREADS:
        raise ValueError(f"{kind}.threads: expected 1 to {MOST_THREADS}, got {threads!r}")


def check_file(engine: Path, suffixes: tuple[str, ...], runtime: str) -> None:
    """Raise EngineError unless `engine` is a file with one of `suffixes`; one in ONNX has to hold all its weights."""
    if engine.suffix not in suffixes:
        raise EngineError(f"{engine}: expected an engine of {runtime} ({' or '.join(suffixes)}), got {engine.name}")
    if not engine.is_file():
        raise EngineError(f"{engine}: expected an engine file, got none; export it again")
    if not is_utf8(str(engine)):  # no runtime takes such a path
        raise EngineError(f"{engine}: expected a path in UTF-8, got other bytes; move the file to another folder")
    if engine.suffix == ".onnx":
        try:
            others = locations(engine)
        except ValueError as cause:
            raise EngineError(f"{engine}: expected a graph for {runtime}, got: {cause}; export it again") from None
        if others:
            raise EngineError(
                f"{engine}: expected a graph with its weights, got some in {others[0]!r}; export it again"
            )


def check_stamp(engine: Path, package: str) -> stamp.Stamp:
    """Read the engine's stamp; EngineError if it is missing, damaged or of another runtime than `package`."""
    stamped = stamp.read(engine)
    if stamped.runtime.split()[0] != package:
        raise EngineError(f"{engine}: expected an engine of {package}, got one of {stamped.runtime}; export it again")
    return stamped


@contextlib.contextmanager
def atomic_output(out_dir: Path) -> Iterator[Path]:
    """Yield a temporary folder whose files are moved to `out_dir`, the stamp last, or discarded on an error."""
    out_dir.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=out_dir, prefix=".engine-") as folder:
            yield Path(folder)
            files = sorted(Path(folder).iterdir(), key=lambda file: file.suffixes[-2:] == [".stamp", ".json"])
            for file in files:
                stamp.path_of(out_dir / file.name).unlink(missing_ok=True)  # it belongs to the previous engine
            for file in files:
                file.replace(out_dir / file.name)
    except OSError as cause:
        if cause.errno in NO_ROOM:
            raise disk_full_error(out_dir, cause) from cause
        raise


def disk_full_error(out_dir: Path, cause: Exception) -> OSError:
    """Create the error for an engine that did not fit on the disk."""
    free = shutil.disk_usage(out_dir).free / 1e6
    text = f"{out_dir}: expected room for an engine, got: {cause}; {free:.0f} MB are free: free some space and rerun"
    return OSError(errno.ENOSPC, text)


def most_common(computes: Iterable[str]) -> str:
    """The most frequent value; "none" for a graph without products."""
    counted = Counter(computes).most_common(1)
    return counted[0][0] if counted else "none"
