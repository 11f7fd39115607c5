"""Golden images: a few that cover many labels, and what decoding, resizing and every engine make of them here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mlkd.core.images import UnreadableImageError, decode, resize

QUALITY = 90
TURNED = 6  # EXIF orientation: the camera was held upright
ORIENTATION = 0x0112  # EXIF tag
EXPECTED = "expected.npz"

Scores = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def choose_golden(files: Sequence[Path], scores: NDArray[np.float32], count: int) -> list[int]:
    """Rows of at most `count` readable images whose labels' highest `scores` (N, L) add up to most, taken greedily.

    Of equals the first; fewer where fewer can be read.
    """
    assert len(files) == len(scores), f"{len(files)} files, {len(scores)} rows of scores"
    covered = np.zeros(scores.shape[1])
    left = set(range(len(files)))
    chosen: list[int] = []
    while left and len(chosen) < count:
        row = max(sorted(left), key=lambda one: np.maximum(scores[one] - covered, 0).sum())
        left.remove(row)
        if _readable(files[row]):
            chosen.append(row)
            covered = np.maximum(covered, scores[row])
    return chosen


def write_golden(
    files: Sequence[Path],
    image_px: int,
    out: Path,
    scores_of: Mapping[str, Scores],
    *,
    labels: Sequence[str],
    thresholds: Mapping[str, Sequence[float]],
) -> tuple[list[Path], Path]:
    """Save the images anew in the folder `out` as 1.jpg, 2.jpg, 3.png …, each in another form, and expected.npz.

    `scores_of` gives by engine's name what turns uint8 (1, image_px, image_px, 3) into (1, L), `labels` and
    `thresholds`, (L,) an engine, what is printed of its scores.  An image that cannot be read is left out; raises
    UnreadableImageError if that leaves none.  Equal images and scores give equal bytes.
    """
    out.mkdir(parents=True, exist_ok=True)
    readable = [file for file in files if _readable(file)]
    if not readable:
        raise UnreadableImageError(f"golden images: expected one that can be read, got none in {len(files)} files")
    written = [_FORMS[i % len(_FORMS)](file, image_px, out / str(i + 1)) for i, file in enumerate(readable)]
    decoded = [decode(file, image_px) for file in written]
    pixels = [resize(image, image_px) for image in decoded]
    arrays: dict[str, Any] = {f"decoded_{i}": np.asarray(image) for i, image in enumerate(decoded)}
    arrays |= {f"pixels_{i}": image for i, image in enumerate(pixels)}
    arrays |= {f"scores:{engine}": _one_at_a_time(score, pixels) for engine, score in scores_of.items()}
    arrays["labels"] = np.array(labels, dtype=np.str_)
    arrays |= {f"thresholds:{engine}": np.array(thresholds[engine], np.float64) for engine in scores_of}
    np.savez_compressed(out / EXPECTED, **arrays)
    return written, out / EXPECTED


def _one_at_a_time(score: Scores, pixels: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """(G, L), as a device scores single images; some engines take no larger batch."""
    return np.concatenate([score(image[None]) for image in pixels]).astype(np.float32)


def _readable(file: Path) -> bool:
    try:
        decode(file, 1)
    except UnreadableImageError:
        return False
    return True


def _drawn(file: Path, width: float, height: float) -> Image.Image:
    """The image without its metadata; that it is distorted is undone by the plain resize to a square."""
    size = round(width), round(height)
    image = decode(file, max(size)).resize(size, Image.Resampling.BICUBIC)
    return Image.fromarray(np.asarray(image))


def _baseline(file: Path, image_px: int, stem: Path) -> Path:
    """A JPEG with 4:2:0 chroma, large enough to be decoded at half its scale."""
    out = stem.with_suffix(".jpg")
    _drawn(file, 5 * image_px, 4 * image_px).save(out, quality=QUALITY, subsampling="4:2:0")
    return out


def _turned(file: Path, image_px: int, stem: Path) -> Path:
    """A progressive JPEG that lies on its side, with an EXIF orientation that says so."""
    out, exif = stem.with_suffix(".jpg"), Image.Exif()
    exif[ORIENTATION] = TURNED
    turned = _drawn(file, 2 * image_px, 1.5 * image_px).transpose(Image.Transpose.ROTATE_90)
    turned.save(out, quality=QUALITY, progressive=True, exif=exif)
    return out


def _transparent(file: Path, image_px: int, stem: Path) -> Path:
    """A PNG that fades out toward its upper edge."""
    out, image = stem.with_suffix(".png"), _drawn(file, 2 * image_px, 1.5 * image_px)
    image.putalpha(Image.linear_gradient("L").resize(image.size).point(lambda level: min(255, 4 * level)))
    image.save(out)
    return out


def _printed(file: Path, image_px: int, stem: Path) -> Path:
    """A CMYK JPEG, whose values Adobe's convention inverts."""
    out = stem.with_suffix(".jpg")
    _drawn(file, 1.5 * image_px, 2 * image_px).convert("CMYK").save(out, quality=QUALITY)
    return out


_FORMS = (_baseline, _turned, _transparent, _printed)
