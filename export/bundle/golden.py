"""Golden images: a few images that cover many labels, with the expected result of every step and engine."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from export.backends.base import score_in_batches
from export.bundle.manifest import Manifest
from export.errors import BundleError
from mlkd.core.images import UnreadableImageError, decode, resize

QUALITY = 90
ROTATED = 6  # EXIF orientation of a camera held upright
ORIENTATION = 0x0112  # EXIF tag
EXPECTED = "expected.npz"
MOST_BYTES = 1 << 28  # limit for the unpacked arrays of a bundle, which take a few megabytes

ScoreFunction = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True)
class Golden:
    """The golden images of a bundle and the results expected of them."""

    files: tuple[Path, ...]
    decoded: tuple[NDArray[np.uint8], ...]  # (H, W, 3) each
    pixels: tuple[NDArray[np.uint8], ...]  # (image_px, image_px, 3) each
    scores: Mapping[str, NDArray[np.float32]]  # by engine (G, L)
    labels: tuple[str, ...]  # (L,)
    thresholds: Mapping[str, tuple[float, ...]]  # by engine (L,)

    @classmethod
    def read(cls, folder: Path, manifest: Manifest) -> Golden:
        """Read those of a verified bundle; BundleError for an array that is missing, damaged or of another shape."""
        file, count = folder / manifest.golden_expected, len(manifest.golden)
        engines = [entry.name for entry in manifest.engines]
        try:
            with zipfile.ZipFile(file) as archive:
                size = sum(entry.file_size for entry in archive.infolist())
            if size > MOST_BYTES:
                raise ValueError(f"{size} bytes of arrays, more than {MOST_BYTES}")
            with np.load(file, allow_pickle=False) as arrays:
                decoded, pixels = ([arrays[f"{step}_{i}"] for i in range(count)] for step in ("decoded", "pixels"))
                scores, thresholds = (
                    {engine: arrays[f"{what}:{engine}"] for engine in engines} for what in ("scores", "thresholds")
                )
                labels = tuple(map(str, arrays["labels"]))
        except Exception as cause:  # zlib, zipfile and numpy raise their own classes; MemoryError if a size is wrong
            raise BundleError(f"{file}: expected the results of golden images, got: {cause}; export again") from cause
        square, table = (manifest.image_px, manifest.image_px, 3), (count, len(manifest.labels))
        for array in pixels:
            _check(file, "pixels", array, np.uint8, square)
        for array in decoded:
            _check(file, "decoded", array, np.uint8, (*array.shape[:2], 3))
        for engine in engines:
            _check(file, f"scores:{engine}", scores[engine], np.float32, table)
            _check(file, f"thresholds:{engine}", thresholds[engine], np.float64, table[1:])
        if len(labels) != len(manifest.labels):
            raise BundleError(f"{file}: labels: expected {len(manifest.labels)}, got {len(labels)}; export again")
        return cls(
            files=tuple(folder / path for path in manifest.golden),
            decoded=tuple(decoded),
            pixels=tuple(pixels),
            scores=scores,
            labels=labels,
            thresholds={engine: tuple(values.tolist()) for engine, values in thresholds.items()},
        )


def choose_golden(files: Sequence[Path], scores: NDArray[np.float32], count: int) -> list[int]:
    """Choose up to `count` readable images greedily so that the sum of each label's highest score (N, L) is largest."""
    assert len(files) == len(scores), f"{len(files)} files, {len(scores)} rows of scores"
    covered = np.zeros(scores.shape[1])
    left = set(range(len(files)))
    chosen: list[int] = []
    while left and len(chosen) < count:
        row = max(sorted(left), key=lambda index: np.maximum(scores[index] - covered, 0).sum())
        left.remove(row)
        if _is_readable(files[row]):
            chosen.append(row)
            covered = np.maximum(covered, scores[row])
    return chosen


def write_golden(
    files: Sequence[Path],
    image_px: int,
    out: Path,
    scores_of: Mapping[str, ScoreFunction],
    *,
    labels: Sequence[str],
    thresholds: Mapping[str, Sequence[float]],
) -> tuple[list[Path], Path]:
    """Save the images as 1.jpg, 2.jpg, 3.png …, each in another format, and the expected results in expected.npz.

    Equal images and scores give equal bytes.  Unreadable images are skipped.

    Args:
        files: The images.
        image_px: Side of the engines' input.
        out: Folder to write to.
        scores_of: By engine, a function from uint8 (1, image_px, image_px, 3) to scores (1, L).
        labels: L names.
        thresholds: By engine, (L,).

    Raises:
        UnreadableImageError: No image is readable.
    """
    out.mkdir(parents=True, exist_ok=True)
    readable = [file for file in files if _is_readable(file)]
    if not readable:
        raise UnreadableImageError(f"golden images: expected a readable image, got none in {len(files)} files")
    written = [_FORMATS[i % len(_FORMATS)](file, image_px, out / str(i + 1)) for i, file in enumerate(readable)]
    decoded = [decode(file, image_px) for file in written]
    pixels = np.stack([resize(image, image_px) for image in decoded])
    arrays: dict[str, Any] = {f"decoded_{i}": np.asarray(image) for i, image in enumerate(decoded)}
    arrays |= {f"pixels_{i}": image for i, image in enumerate(pixels)}
    # One image at a time, as a device scores them: some engines take no larger batch.
    arrays |= {f"scores:{engine}": score_in_batches(score, pixels, 1) for engine, score in scores_of.items()}
    arrays["labels"] = np.array(labels, dtype=np.str_)
    arrays |= {f"thresholds:{engine}": np.array(thresholds[engine], np.float64) for engine in scores_of}
    np.savez_compressed(out / EXPECTED, **arrays)
    return written, out / EXPECTED


def _check(file: Path, name: str, array: NDArray[Any], dtype: type, shape: tuple[int, ...]) -> None:
    if array.dtype != dtype or array.shape != shape or not array.size or not np.isfinite(array).all():
        expected, got = f"finite {np.dtype(dtype)} {shape}", f"{array.dtype} {array.shape}"
        raise BundleError(f"{file}: {name}: expected {expected}, got {got}; export again")


def _is_readable(file: Path) -> bool:
    try:
        decode(file, 1)
    except UnreadableImageError:
        return False
    return True


def _stretched(file: Path, width: float, height: float) -> Image.Image:
    """The image in another aspect ratio and without metadata; resizing to a square later removes the distortion."""
    size = round(width), round(height)
    image = decode(file, max(size)).resize(size, Image.Resampling.BICUBIC)
    return Image.fromarray(np.asarray(image))


def _write_baseline(file: Path, image_px: int, stem: Path) -> Path:
    """Write a JPEG with 4:2:0 chroma, large enough to be decoded at half its scale."""
    out = stem.with_suffix(".jpg")
    _stretched(file, 5 * image_px, 4 * image_px).save(out, quality=QUALITY, subsampling="4:2:0")
    return out


def _write_rotated(file: Path, image_px: int, stem: Path) -> Path:
    """Write a progressive JPEG whose pixels are rotated and whose EXIF orientation undoes that."""
    out, exif = stem.with_suffix(".jpg"), Image.Exif()
    exif[ORIENTATION] = ROTATED
    rotated = _stretched(file, 2 * image_px, 1.5 * image_px).transpose(Image.Transpose.ROTATE_90)
    rotated.save(out, quality=QUALITY, progressive=True, exif=exif)
    return out


def _write_transparent(file: Path, image_px: int, stem: Path) -> Path:
    """Write a PNG that becomes transparent toward its upper edge."""
    out, image = stem.with_suffix(".png"), _stretched(file, 2 * image_px, 1.5 * image_px)
    image.putalpha(Image.linear_gradient("L").resize(image.size).point(lambda level: min(255, 4 * level)))
    image.save(out)
    return out


def _write_cmyk(file: Path, image_px: int, stem: Path) -> Path:
    """Write a CMYK JPEG, with values inverted by Adobe's convention."""
    out = stem.with_suffix(".jpg")
    _stretched(file, 1.5 * image_px, 2 * image_px).convert("CMYK").save(out, quality=QUALITY)
    return out


_FORMATS = (_write_baseline, _write_rotated, _write_transparent, _write_cmyk)
