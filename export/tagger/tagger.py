"""Tagger: an open bundle that turns images into labels with scores."""

from __future__ import annotations

import functools
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from export.backends import RuntimeInfo, score_in_batches
from export.backends.host import usable_cores
from export.bundle.bundle import read_bundle
from export.bundle.golden import Golden
from export.bundle.manifest import Manifest
from export.errors import BundleError, EngineError, MissingRuntimeError
from export.tagger.engine_choice import Choice, choose
from export.tagger.engine_times import measure_engines, wrong_scores
from export.tagger.inputs import ImageSource, decode_source
from export.tagger.opening import open_engine
from export.tagger.session_pool import SessionPool
from mlkd.core import images
from mlkd.core.labels import Labels


class Tag(NamedTuple):
    """A label and its score in 0..1."""

    label: str
    score: float


@dataclass(frozen=True)
class Tagger:
    """An open bundle, created by `load`.  A context manager, because it holds the runtime's memory; thread-safe.

    `tag` calls `decode`, `resize`, `scores` and `decide`, which are public so that a benchmark times the same steps.
    """

    manifest: Manifest
    choice: Choice
    sessions: SessionPool
    workers: int = 1
    rebuilt: Path | None = None  # the engine file, if this device built it

    @classmethod
    def load(
        cls,
        folder: Path | str,
        engine: str | None = None,
        *,
        threads: int | None = None,
        workers: int | None = 1,
        rebuild: bool = False,
        key: Path | None = None,
    ) -> Tagger:
        """Verify a bundle and open an engine.

        Args:
            folder: The bundle.
            engine: Name of the engine; by default the fastest that opens on this machine.
            threads: Threads of each session, instead of the number in the manifest.
            workers: How many threads may score at once, each on its own session; None for all cores.
            rebuild: Compile a foreign, stale or missing engine from the bundle's ONNX into the device's cache.
            key: A public key that must have signed the bundle.

        Raises:
            BundleError: The bundle is damaged or not signed by the key.
            NoEngineError: No engine runs on this machine; the message has the reasons.
            OSError: The cache has no room for a rebuilt engine.
        """
        manifest = read_bundle(Path(folder), key=key)
        return cls.from_manifest(Path(folder), manifest, engine, threads=threads, workers=workers, rebuild=rebuild)

    @classmethod
    def from_manifest(
        cls,
        folder: Path,
        manifest: Manifest,
        engine: str | None = None,
        *,
        threads: int | None = None,
        workers: int | None = 1,
        rebuild: bool = False,
    ) -> Tagger:
        """Open an engine of a bundle that is verified already; see `load`."""
        _check_preprocessing(manifest)
        _check_workers(workers)
        times = None if engine else measure_engines(folder, manifest, threads=threads, rebuild=rebuild)
        refused: dict[str, str] = {}
        while True:
            choice = choose(manifest, engine, times=times, threads=threads, rebuild=rebuild, refused=refused)
            try:
                tagger = cls.open(folder, manifest, choice, workers=workers, rebuild=rebuild)
                if times is not None and not times.checked:
                    tagger.check(folder)
            except Exception as cause:  # every runtime raises its own classes
                is_ours = isinstance(cause, (EngineError, MissingRuntimeError))
                if not is_ours and (engine is not None or (rebuild and isinstance(cause, OSError))):
                    raise
                refused[choice.entry.name] = " ".join(str(cause).split()) or type(cause).__name__
            else:
                return tagger

    @classmethod
    def open(
        cls, folder: Path, manifest: Manifest, choice: Choice, *, workers: int | None = 1, rebuild: bool = False
    ) -> Tagger:
        """Open the chosen engine of a verified bundle; EngineError or MissingRuntimeError says why that fails."""
        _check_workers(workers)
        workers = workers or max(1, usable_cores() // getattr(choice.backend, "threads", 1))
        opener = functools.partial(open_engine, folder, manifest, choice.entry, choice.backend)
        first = opener(rebuild=rebuild)
        rebuilt = first.engine if first.engine != folder / choice.entry.file else None
        return cls(manifest, choice, SessionPool(first, opener, workers), workers, rebuilt)

    def tag(
        self,
        image: ImageSource,
        *,
        threshold: float | None = None,
        top_k: int | None = None,
        labels: Collection[str] | None = None,
    ) -> list[Tag]:
        """Return labels with scores, highest score first.

        Args:
            image: A file, its bytes, a Pillow image or an array uint8 (H, W, 3).
            threshold: Lowest score for all labels, instead of the engine's threshold for each label.
            top_k: The largest number of tags.
            labels: The only labels to return.

        Raises:
            UnreadableImageError: The image cannot be decoded.
            ValueError: Another argument is wrong.
        """
        pixels = self.resize(self.decode(image))
        return self.decide(self.scores(pixels[None])[0], threshold=threshold, top_k=top_k, labels=labels)

    def decode(self, image: ImageSource) -> Image.Image:
        """Decode to an upright RGB image; files, bytes and Pillow images may be reduced in size, arrays are not."""
        return decode_source(image, self.manifest.image_px)

    def resize(self, decoded: Image.Image) -> NDArray[np.uint8]:
        """Resize to uint8 (image_px, image_px, 3)."""
        return images.resize(decoded, self.manifest.image_px)

    def scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Score uint8 (B, image_px, image_px, 3) to float32 (B, L), in batches that the engine accepts."""
        with self.sessions.borrow() as session:
            if self.max_batch is None or len(pixels) <= self.max_batch:
                return session(pixels)
            return score_in_batches(session, pixels, self.max_batch)

    def decide(
        self,
        scores: NDArray[np.float32],
        *,
        threshold: float | None = None,
        top_k: int | None = None,
        labels: Collection[str] | None = None,
    ) -> list[Tag]:
        """Select the tags of one image from its scores (L,); arguments and errors as in `tag`."""
        if threshold is not None and not 0 <= threshold <= 1:
            raise ValueError(f"threshold: expected a score of 0 to 1, got {threshold:g}")
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k: expected at least 1, got {top_k}")
        chosen = scores >= (self._limits if threshold is None else np.float64(threshold))
        if labels is not None:
            chosen &= _mask(self.manifest.labels, tuple(labels))
        (indices,) = chosen.nonzero()
        best = indices[np.argsort(-scores[indices], kind="stable")][:top_k]
        return [Tag(self.manifest.labels[index], float(scores[index])) for index in best]

    @property
    def runtime_info(self) -> RuntimeInfo:
        """What the engine runs on."""
        return self.sessions.first.runtime_info

    @property
    def engine(self) -> Path:
        """The engine file in use."""
        return self.sessions.first.engine

    @property
    def max_batch(self) -> int | None:
        """The largest batch that the engine accepts; None for no limit."""
        return self.sessions.first.max_batch

    @functools.cached_property
    def _limits(self) -> NDArray[np.float64]:
        return np.array(self.choice.entry.thresholds)

    def check(self, folder: Path) -> None:
        """Close the tagger and raise EngineError if its scores of the golden images are wrong."""
        reason = self.reason_not_to_use(folder)
        if reason is not None:
            self.close()
            raise EngineError(reason)

    def reason_not_to_use(self, folder: Path) -> str | None:
        """Say how its scores of the golden images differ from the expected ones; None if they are right."""
        return wrong_scores(
            self.choice.entry, self.choice.backend, self.sessions.first, Golden.read(folder, self.manifest)
        )

    def close(self) -> None:
        """Release the runtime's memory, once no thread is scoring."""
        self.sessions.close()

    def __enter__(self) -> Tagger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@functools.lru_cache
def _mask(names: tuple[str, ...], wanted: tuple[str, ...]) -> NDArray[np.bool_]:
    known = Labels(names)
    mask = np.zeros(len(known), dtype=np.bool_)
    mask[[known.index(label) for label in wanted]] = True
    return mask


def _check_workers(workers: int | None) -> None:
    if workers is not None and workers < 1:
        raise ValueError(f"workers: expected at least 1, got {workers}")


def _check_preprocessing(manifest: Manifest) -> None:
    """Raise BundleError if the bundle needs another preprocessing than this program has."""
    for name in sorted(manifest.preprocessing.keys() | images.PREPROCESSING.keys()):
        expected, got = (steps.get(name, "nothing") for steps in (images.PREPROCESSING, manifest.preprocessing))
        if expected != got:
            raise BundleError(
                f"manifest: preprocessing.{name}: expected {expected!r}, got {got!r}; use the tagger.pyz it came with"
            )
