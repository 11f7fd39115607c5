import hashlib
import io
import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlkd.core.images import UnreadableImageError, load
from mlkd.data import decode as decoding
from mlkd.data.decode import DecodeResult, decode_files, decode_sizes, scaling_findings


def jpeg(width: int, height: int, seed: int = 0) -> bytes:
    small = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(small).resize((width, height)).save(stream, "JPEG")
    return stream.getvalue()


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    files = [tmp_path / f"{number}.jpg" for number in range(9)]
    for number, file in enumerate(files):
        file.write_bytes(jpeg(60 + number, 40, number))
    files[3].write_bytes(files[3].read_bytes()[:200])
    files[5].unlink()
    return files


def check(readings: list[DecodeResult], files: list[Path], arrays: dict[int, Path]) -> None:
    for row, (file, reading) in enumerate(zip(files, readings, strict=True)):
        for px, array in arrays.items():
            expected = 0 if reading.unreadable else load(file, px)
            np.testing.assert_array_equal(np.load(array)[row], expected)
        if reading.unreadable:
            assert str(file) in reading.unreadable
        else:
            assert reading.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert [row for row, reading in enumerate(readings) if reading.unreadable] == [3, 5]


@pytest.mark.parametrize("many", [False, True])
def test_files_are_decoded_in_one_process_or_several(
    many: bool, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "CHUNK", 2)
    monkeypatch.setattr(decoding, "sched_getaffinity", lambda pid: {0, 1})
    started = []
    real = decoding.ProcessPoolExecutor
    monkeypatch.setattr(decoding, "ProcessPoolExecutor", lambda *args: started.append(args[0]) or real(*args))
    if many:
        monkeypatch.setattr(decoding, "MANY", 4)
    arrays = {px: tmp_path / f"{px}.npy" for px in (16, 24)}
    calls: list[int] = []
    check(decode_files(files, arrays, calls.append), files, arrays)
    assert started == ([2] if many else [])
    assert calls[0] == 0
    assert calls == sorted(calls)


@pytest.mark.parametrize("size", [(640, 480), (33, 20), (1, 1), (500, 130)])
def test_pixels_equal_those_of_images_load(size: tuple[int, int]) -> None:
    content = jpeg(*size)
    sizes = (16, 24, 32, 96, 128, 224)
    for px, view in decode_sizes(content, sizes)[0].items():
        np.testing.assert_array_equal(view, load(content, px))


def test_each_scale_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    real = decoding.decode
    monkeypatch.setattr(decoding, "decode", lambda content, px: decoded.append(px) or real(content, px))
    decode_sizes(jpeg(640, 480), (128, 160, 48))  # scales 1, 1 and 4
    assert decoded == [128, 48]
    with pytest.raises(UnreadableImageError):
        decode_sizes(b"no image", (16, 24))


class Deadly(type(Path())):  # type: ignore[misc]
    """A path that kills the process that reads it, as a crash in a decoder or a lack of memory does."""

    def read_bytes(self) -> bytes:
        assert multiprocessing.parent_process() is not None
        os.kill(os.getpid(), signal.SIGKILL)
        return b""


def test_a_dead_process_is_an_error_with_its_cause(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "CHUNK", 2)
    monkeypatch.setattr(decoding, "MANY", 4)
    monkeypatch.setattr(decoding, "sched_getaffinity", lambda pid: {0, 1})
    files[6] = Deadly(files[6])
    with pytest.raises(RuntimeError, match=r"decoding: expected every process to finish, got one that died of SIGKILL"):
        decode_files(files, {16: tmp_path / "16.npy"}, lambda done: None)
    assert not multiprocessing.active_children()


def test_scaled_images_are_counted_with_the_first_name() -> None:
    how = ("", "10-bit colours", "12-bit grey values", "12-bit grey values")
    (finding,) = scaling_findings(
        (f"{index}.png", DecodeResult("hash", scaled=scaled)) for index, scaled in enumerate(how)
    )
    assert finding.numbers == "2 with 12-bit grey values (first 2.png), 1 with 10-bit colours (first 1.png)."
    assert scaling_findings([("0.png", DecodeResult("hash"))]) == []
