"""Tagger: a bundle opened on this machine, pictures in, labels with scores out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from export.backends import EngineRefused, MissingRuntime, Session
from export.bundle import read_bundle
from export.manifest import Manifest
from export.tagger.choosing import Choice, choose
from export.tagger.opening import open_engine
from mlkd import images

Picture = Path | str | bytes | Image.Image | NDArray[np.uint8]


class Tag(NamedTuple):
    """A label and its score in 0..1."""

    label: str
    score: float


@dataclass(frozen=True)
class Tagger:
    """Made by `load`; a context manager, because a session holds the runtime's memory.

    `tag` is the chain decode, resize, scores, decide; the parts are public so that a benchmark times this very chain.
    """

    manifest: Manifest
    choice: Choice
    session: Session
    rebuilt: Path | None = None  # the engine that this device built, if that is the one

    @classmethod
    def load(
        cls,
        folder: Path | str,
        engine: str | None = None,
        *,
        threads: int | None = None,
        machine: dict[str, Any] | None = None,
        rebuild: bool = False,
    ) -> Tagger:
        """Verify the bundle, then open one engine: `engine`, or the first in the order of `choose` that opens.

        With `rebuild` an engine that is foreign, stale or not built yet is compiled from the bundle's ONNX into the
        device's cache; one that lies there is used in any case.  Raises BundleError for a bundle that must not be
        used, NoEngineError if nothing in it runs here, OSError if the cache cannot take a rebuilt engine.
        """
        manifest = read_bundle(Path(folder))
        return cls.first(Path(folder), manifest, engine, threads=threads, machine=machine, rebuild=rebuild)

    @classmethod
    def first(
        cls,
        folder: Path,
        manifest: Manifest,
        engine: str | None = None,
        *,
        threads: int | None = None,
        machine: dict[str, Any] | None = None,
        rebuild: bool = False,
    ) -> Tagger:
        """Like `load`, of a bundle that has been verified."""
        refused: dict[str, str] = {}
        while True:
            choice = choose(manifest, engine, machine=machine, threads=threads, rebuild=rebuild, refused=refused)
            try:
                return cls.open(folder, manifest, choice, rebuild=rebuild)
            except (EngineRefused, MissingRuntime) as cause:
                refused[choice.entry.name] = str(cause)

    @classmethod
    def open(cls, folder: Path, manifest: Manifest, choice: Choice, *, rebuild: bool = False) -> Tagger:
        """Open the chosen engine of a verified bundle; EngineRefused or MissingRuntime says why that cannot be."""
        session = open_engine(folder, manifest, choice.entry, choice.backend, rebuild=rebuild)
        return cls(manifest, choice, session, session.engine if session.engine != folder / choice.entry.file else None)

    def tag(self, image: Picture, *, threshold: float | None = None, top_k: int | None = None) -> list[Tag]:
        """Labels of a picture file, its bytes, a Pillow image or an array uint8 (H, W, 3), best score first.

        A label is given at or above this engine's threshold for it, or `threshold` for all; at most `top_k` of them.
        Raises mlkd.images.UnreadablePicture.
        """
        pixels = self.resize(self.decode(image))
        return self.decide(self.scores(pixels[None])[0], threshold=threshold, top_k=top_k)

    def decode(self, image: Picture) -> Image.Image:
        """Upright RGB picture; a Pillow image or an array keeps its size, a JPEG's bytes come at a reduced one."""
        if isinstance(image, np.ndarray):
            return Image.fromarray(_checked(image))
        if isinstance(image, Image.Image):
            return images.to_rgb(ImageOps.exif_transpose(image))
        return images.decode(Path(image) if isinstance(image, str) else image, self.manifest.image_px)

    def resize(self, picture: Image.Image) -> NDArray[np.uint8]:
        """uint8 (image_px, image_px, 3)."""
        return images.resize(picture, self.manifest.image_px)

    def scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (B, image_px, image_px, 3) to float32 (B, L)."""
        return self.session(pixels)

    def decide(
        self, scores: NDArray[np.float32], *, threshold: float | None = None, top_k: int | None = None
    ) -> list[Tag]:
        """Tags of one picture's scores (L,)."""
        limits = self.choice.entry.thresholds if threshold is None else [threshold] * len(scores)
        named = zip(self.manifest.labels, scores.tolist(), limits, strict=True)
        tags = (Tag(label, score) for label, score, limit in named if score >= limit)
        return _best(tags, top_k)

    def close(self) -> None:
        """Release the runtime."""
        self.session.close()

    def __enter__(self) -> Tagger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _best(tags: Iterable[Tag], top_k: int | None) -> list[Tag]:
    return sorted(tags, key=lambda tag: -tag.score)[:top_k]


def _checked(image: NDArray[Any]) -> NDArray[Any]:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise images.UnreadablePicture(f"picture array: expected uint8 (H, W, 3), got {image.dtype} {image.shape}")
    return np.ascontiguousarray(image)
