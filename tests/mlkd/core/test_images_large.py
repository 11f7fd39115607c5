"""Images of many pixels: made smaller before anything is computed, one at a time, in little more than their memory."""

import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mlkd.core import images

ROOT = Path(__file__).parents[3]
PX = 8
MODES = ("RGB", "RGBA", "LA", "P", "L", "I;16", "F", "1")
PEAK = """
import sys
from pathlib import Path
from mlkd.core import images
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
before = peak()
images.decode(Path(sys.argv[1]), 64)
print(peak() - before)
"""


def drawn(mode: str, size: tuple[int, int]) -> Image.Image:
    rng = np.random.default_rng(0)
    width, height = size
    if mode == "I;16":
        return Image.fromarray(rng.integers(0, 65536, (height, width), dtype=np.uint16))
    if mode == "F":
        return Image.fromarray(rng.uniform(0, 1, (height, width)).astype(np.float32))
    if mode == "P":
        image = Image.fromarray(rng.integers(0, 4, (height, width), dtype=np.uint8), "P")
        image.putpalette([200, 0, 0, 0, 100, 0, 0, 0, 50, 9, 9, 9])
        image.info["transparency"] = bytes((0, 128, 255, 64))
        return image
    channels = len(Image.new(mode, (1, 1)).getbands())
    shape = (height, width, channels) if channels > 1 else (height, width)
    values = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
    return values.convert(mode)


def means(whole: NDArray[Any], across: int, down: int) -> NDArray[Any]:
    """Of blocks, the last of each row and column smaller; in float64."""
    tops, lefts = range(0, whole.shape[0], down), range(0, whole.shape[1], across)
    return np.array([[whole[y : y + down, x : x + across].mean((0, 1)) for x in lefts] for y in tops])


@pytest.mark.parametrize("mode", MODES)
def test_a_large_image_gives_the_means_of_what_a_small_one_gives(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, size = tmp_path / ("image.tif" if mode == "F" else "image.png"), (70, 53)
    drawn(mode, size).save(file)
    whole = np.asarray(images.decode(file, PX), dtype=np.float64)
    assert whole.shape == (53, 70, 3)
    monkeypatch.setattr(images, "LARGE", 70 * 53 - 1)
    monkeypatch.setattr(images, "BAND", 70 * 9)  # three blocks of 3 rows at once
    small = np.asarray(images.decode(file, PX), dtype=np.float64)
    assert small.shape == (-(-53 // 3), -(-70 // 4), 3)
    np.testing.assert_allclose(small, means(whole, across=4, down=3), atol=1.0)
    for image in (drawn(mode, size), Image.open(file)):
        np.testing.assert_array_equal(np.asarray(images.from_pillow(image, PX)), small)


def test_a_large_image_is_turned_as_its_camera_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[images.ORIENTATION] = 6
    for file in (tmp_path / "image.png", tmp_path / "image.tif"):
        drawn("RGB", (70, 53)).save(file, exif=exif)
        upright = images.decode(file, PX).size
        with monkeypatch.context() as patched:
            patched.setattr(images, "LARGE", 100)
            assert (upright, images.decode(file, PX).size) == ((53, 70), (18, 18))


def write_png(file: Path, width: int, height: int) -> None:
    """A transparent one, row by row: it is never whole in this process."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packed, row = zlib.compressobj(1), b"\0" + bytes((9, 8, 7, 128)) * width
    data = b"".join(packed.compress(row) for _ in range(height)) + packed.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def test_a_large_image_takes_little_more_memory_than_its_pixels(tmp_path: Path) -> None:
    """4 bytes a pixel in Pillow; laid over white as a whole it took five times that."""
    if not Path("/proc/self/status").exists():
        pytest.skip("this system does not tell a process's memory")
    width, height = 5000, 4000
    write_png(tmp_path / "large.png", width, height)
    command = [sys.executable, "-c", PEAK, str(tmp_path / "large.png")]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert int(ended.stdout) < 1.25 * 4 * width * height


def test_of_large_images_one_is_decoded_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "image.png"
    drawn("RGB", (70, 53)).save(file)
    monkeypatch.setattr(images, "LARGE", 100)
    held = []
    reduce = images._reduce
    monkeypatch.setattr(
        images, "_reduce", lambda *given: (held.append(images._one_large_image.locked()), reduce(*given))[1]
    )
    images.decode(file, PX)
    assert held == [True]
    assert not images._one_large_image.locked()
