"""Images a second of the data stage: a decoding a size, one for all sizes of equal scale, and every core.

Run it as `python scripts/speed_decode.py`.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

from mlkd.core.files import create_array

sys.path.insert(0, str(Path(__file__).parents[1]))

from mlkd.core.images import load
from mlkd.data import decode

COUNT, SIZES, REPEATS = 500, (128, 160), 5


def draw(folder: Path) -> list[Path]:
    """640 × 480 with the detail of a photograph: noise at three scales."""
    rng = np.random.default_rng(0)
    files = []
    for number in range(COUNT):
        image = sum(
            np.asarray(
                Image.fromarray(rng.integers(0, 255, (h, 4 * h // 3, 3), dtype=np.uint8)).resize((640, 480)), float
            )
            for h in (6, 30, 150)
        )
        files.append(folder / f"{number}.jpg")
        Image.fromarray((np.asarray(image) / 3).astype(np.uint8)).save(files[-1], quality=90)
    return files


def a_decoding_a_size(files: Sequence[Path], arrays: dict[int, Path]) -> None:
    maps = {px: create_array(file, np.uint8, (len(files), px, px, 3)) for px, file in arrays.items()}
    for row, file in enumerate(files):
        content = file.read_bytes()
        for px in SIZES:
            maps[px][row] = load(content, px)
        hashlib.sha256(content).hexdigest()


def one_process(files: Sequence[Path], arrays: dict[int, Path]) -> None:
    with mock.patch.object(decode, "sched_getaffinity", return_value={0}):
        decode.decode_files(files, arrays, lambda _: None)


def all_cores(files: Sequence[Path], arrays: dict[int, Path]) -> None:
    decode.decode_files(files, arrays, lambda _: None)


def main() -> None:
    ways: tuple[Callable[[Sequence[Path], dict[int, Path]], None], ...] = (a_decoding_a_size, one_process, all_cores)
    with tempfile.TemporaryDirectory() as name:
        files = draw(Path(name))
        for times in (1, 4):
            many = files * times
            seconds: dict[str, list[float]] = {way.__name__: [] for way in ways}
            for _ in range(REPEATS if times == 1 else 2):
                for way in ways:
                    arrays = {px: Path(name) / f"{px}.npy" for px in SIZES}
                    start = time.perf_counter()
                    way(many, arrays)
                    seconds[way.__name__].append(time.perf_counter() - start)
            first = min(seconds[ways[0].__name__])
            print(f"{len(many)} JPEGs of 640 x 480 to {SIZES} px")
            for label, taken in seconds.items():
                low, middle = min(taken), np.median(taken)
                print(f"  {label:20} min {low:6.2f} s  median {middle:6.2f} s  {first / low:5.2f} x")


if __name__ == "__main__":
    main()
