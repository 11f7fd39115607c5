"""Tagger: a bundle opened on this machine, images in, labels with scores out."""

from __future__ import annotations

import functools
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from export.backends import RuntimeInfo
from export.backends.host import usable_cores
from export.bundle.bundle import read_bundle
from export.bundle.manifest import Manifest
from export.errors import BundleError, EngineError, MissingRuntimeError
from export.tagger.engine_choice import Choice, choose
from export.tagger.fastest import measured, wrong
from export.tagger.opening import open_engine
from export.tagger.reference import Golden
from export.tagger.session_pool import Sessions
from mlkd.core import images
from mlkd.core.labels import Labels

ImageSource = Path | str | bytes | Image.Image | NDArray[np.uint8]


class Tag(NamedTuple):
    """A label and its score in 0..1."""

    label: str
    score: float


@dataclass(frozen=True)
class Tagger:
    """Made by `load`; a context manager, because its sessions hold the runtime's memory.  For any number of threads.

    `tag` is the chain decode, resize, scores, decide; the parts are public so that a benchmark times this very chain.
    """

    manifest: Manifest
    choice: Choice
    sessions: Sessions
    workers: int = 1
    rebuilt: Path | None = None  # the engine that this device built, if that is the one

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
        """Verify the bundle, with a public `key` its signature too, then open `engine`, or the fastest that opens.

        So many `workers` may score at once, on a session of `threads` each; None for as many as keep all cores busy.
        With `rebuild` an engine that is foreign, stale or not built yet is compiled from the bundle's ONNX into the
        device's cache; one that lies there is used in any case.  Raises BundleError for a bundle that must not be used,
        NoEngineError if nothing in it runs here, OSError if the cache cannot take a rebuilt engine.
        """
        manifest = read_bundle(Path(folder), key=key)
        return cls.first(Path(folder), manifest, engine, threads=threads, workers=workers, rebuild=rebuild)

    @classmethod
    def first(
        cls,
        folder: Path,
        manifest: Manifest,
        engine: str | None = None,
        *,
        threads: int | None = None,
        workers: int | None = 1,
        rebuild: bool = False,
    ) -> Tagger:
        """Like `load`, of a bundle that has been verified."""
        _check_preprocessing(manifest)
        _check_workers(workers)
        times = None if engine else measured(folder, manifest, threads=threads, rebuild=rebuild)
        refused: dict[str, str] = {}
        while True:
            choice = choose(manifest, engine, measured=times, threads=threads, rebuild=rebuild, refused=refused)
            try:
                tagger = cls.open(folder, manifest, choice, workers=workers, rebuild=rebuild)
                if times is not None and not times.checked:
                    tagger.check(folder)
            except Exception as cause:  # every runtime raises classes of its own
                ours = isinstance(cause, (EngineError, MissingRuntimeError))
                if not ours and (engine is not None or (rebuild and isinstance(cause, OSError))):
                    raise
                refused[choice.entry.name] = " ".join(str(cause).split()) or type(cause).__name__
            else:
                return tagger

    @classmethod
    def open(
        cls, folder: Path, manifest: Manifest, choice: Choice, *, workers: int | None = 1, rebuild: bool = False
    ) -> Tagger:
        """Open the chosen engine of a verified bundle; EngineError or MissingRuntimeError says why that cannot be."""
        _check_workers(workers)
        workers = workers or max(1, usable_cores() // getattr(choice.backend, "threads", 1))
        opener = functools.partial(open_engine, folder, manifest, choice.entry, choice.backend)
        first = opener(rebuild=rebuild)
        rebuilt = first.engine if first.engine != folder / choice.entry.file else None
        return cls(manifest, choice, Sessions(first, opener, workers), workers, rebuilt)

    def tag(
        self,
        image: ImageSource,
        *,
        threshold: float | None = None,
        top_k: int | None = None,
        labels: Collection[str] | None = None,
    ) -> list[Tag]:
        """Labels of an image file, its bytes, a Pillow image or an array uint8 (H, W, 3), best score first.

        A label is given at or above this engine's threshold for it, or `threshold` for all; at most `top_k` of them,
        only of `labels`.  Raises mlkd.core.images.UnreadableImageError, ValueError for other wrong arguments.
        """
        pixels = self.resize(self.decode(image))
        return self.decide(self.scores(pixels[None])[0], threshold=threshold, top_k=top_k, labels=labels)

    def decode(self, image: ImageSource) -> Image.Image:
        """Upright RGB image; an array keeps its size, a JPEG's bytes and a large image come at a reduced one."""
        if isinstance(image, np.ndarray):
            return Image.fromarray(_checked(image))
        if isinstance(image, Image.Image):
            return images.from_pillow(image, self.manifest.image_px)
        return images.decode(_source(image), self.manifest.image_px)

    def resize(self, decoded: Image.Image) -> NDArray[np.uint8]:
        """uint8 (image_px, image_px, 3)."""
        return images.resize(decoded, self.manifest.image_px)

    def scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (B, image_px, image_px, 3) to float32 (B, L); a large batch goes to the engine in parts it takes."""
        step = self.max_batch or max(1, len(pixels))
        with self.sessions.borrow() as session:
            if len(pixels) <= step:
                return session(pixels)
            return np.concatenate([session(pixels[at : at + step]) for at in range(0, len(pixels), step)])

    def decide(
        self,
        scores: NDArray[np.float32],
        *,
        threshold: float | None = None,
        top_k: int | None = None,
        labels: Collection[str] | None = None,
    ) -> list[Tag]:
        """Tags of one image's scores (L,).  Raises ValueError for a threshold beyond 0..1 and a top_k below 1."""
        if threshold is not None and not 0 <= threshold <= 1:
            raise ValueError(f"threshold: expected a score of 0 to 1, got {threshold:g}")
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k: expected at least 1, got {top_k}")
        chosen = scores >= (self._limits if threshold is None else np.float64(threshold))
        if labels is not None:
            chosen &= _mask(self.manifest.labels, tuple(labels))
        (found,) = chosen.nonzero()
        best = found[np.argsort(-scores[found], kind="stable")][:top_k]
        return [Tag(self.manifest.labels[index], float(scores[index])) for index in best]

    @property
    def runtime_info(self) -> RuntimeInfo:
        """What the engine really runs on."""
        return self.sessions.first.runtime_info

    @property
    def engine(self) -> Path:
        """The file that runs."""
        return self.sessions.first.engine

    @property
    def max_batch(self) -> int | None:
        """The most images that the engine takes at once; None for any number."""
        return self.sessions.first.max_batch

    @functools.cached_property
    def _limits(self) -> NDArray[np.float64]:
        return np.array(self.choice.entry.thresholds)

    def check(self, folder: Path) -> None:
        """Close it and raise EngineError if its scores of the golden images are not as expected."""
        reason = self.reason_not_to_use(folder)
        if reason is not None:
            self.close()
            raise EngineError(reason)

    def reason_not_to_use(self, folder: Path) -> str | None:
        """Why its tags are wrong here: its scores of the golden images are not as expected; None if they are."""
        return wrong(self.choice.entry, self.choice.backend, self.sessions.first, Golden.read(folder, self.manifest))

    def close(self) -> None:
        """Release the runtime; a thread that is scoring ends first."""
        self.sessions.close()

    def __enter__(self) -> Tagger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@functools.lru_cache
def _mask(names: tuple[str, ...], wanted: tuple[str, ...]) -> NDArray[np.bool_]:
    known = Labels(names)
    mask = np.zeros(len(known), dtype=np.bool_)
    mask[[known.index(label) for label in wanted]] = True
    return mask


def _source(image: object) -> Path | bytes:
    if isinstance(image, (Path, bytes)):
        return image
    if isinstance(image, str):
        return Path(image)
    kind = type(image).__name__
    raise ValueError(f"image: expected a path, bytes, a Pillow image or an array, got {kind}; convert it")


def _check_workers(workers: int | None) -> None:
    if workers is not None and workers < 1:
        raise ValueError(f"workers: expected at least 1, got {workers}")


def _check_preprocessing(manifest: Manifest) -> None:
    """Raise BundleError for images that were made ready in another way than here."""
    for name in sorted(manifest.preprocessing.keys() | images.PREPROCESSING.keys()):
        expected, got = (told.get(name, "nothing") for told in (images.PREPROCESSING, manifest.preprocessing))
        if expected != got:
            raise BundleError(
                f"manifest: preprocessing.{name}: expected {expected!r}, got {got!r}; use the tagger.pyz it came with"
            )


def _checked(image: NDArray[Any]) -> NDArray[Any]:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise images.UnreadableImageError(f"image array: expected uint8 (H, W, 3), got {image.dtype} {image.shape}")
    return np.ascontiguousarray(image)
