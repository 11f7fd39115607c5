"""Values of more or fewer than 8 bits, converted to 8 bits."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlkd.core import images
from mlkd.core.image_values import scaled
from mlkd.core.images import decode, load
from tests.helpers import wild


def mean(content: bytes) -> float:
    return float(load(content, 32).mean())


def scaled_as(content: bytes) -> str:
    return scaled(decode(content, 32))


def ramp(peak: int) -> np.ndarray:
    return np.linspace(0, peak, wild.WIDTH * wild.HEIGHT).round().astype(np.uint16).reshape(wild.HEIGHT, wild.WIDTH)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("colour", [False, True])
def test_fewer_than_sixteen_bits_are_scaled(bits: int, colour: bool) -> None:
    """The mean of a ramp is half of white; of colours Pillow gives the high bytes alone, of 10 bits four tones."""
    values = ramp(2**bits - 1).astype(">u2")
    if colour:
        if bits == 8:
            pytest.skip("nothing is left in the high bytes")
        content = wild.png(np.stack([values] * 3, axis=2).astype(">u2"), 16, 2)
    else:
        content = wild.png(values, 16, 0)
    assert mean(content) == pytest.approx(127.5, abs=2)
    assert scaled_as(content) == ("" if bits == 16 else f"{bits}-bit colours" if colour else f"{bits}-bit grey values")


def test_transparent_colours_of_twelve_bits_are_laid_over_white() -> None:
    values = np.full((wild.HEIGHT, wild.WIDTH, 4), 4095, ">u2")
    values[..., 1:3] = 0
    values[:, : wild.WIDTH // 2, 3] = 0
    values[:, wild.WIDTH // 2 :, 3] = 65535
    pixels = np.asarray(decode(wild.png(values, 16, 6), 64))
    np.testing.assert_array_equal(pixels[5, 3], (255, 255, 255))
    np.testing.assert_array_equal(pixels[5, -3], (255, 0, 0))


def tiff(values: np.ndarray, **tags: object) -> bytes:
    return wild.saved(Image.fromarray(values), "TIFF", **tags)


OWN_RANGE = "values with a range of their own"
VALUES = {
    "12 bits": (ramp(4095).astype(np.float32), 127.5, OWN_RANGE),
    "negative": (ramp(40).astype(np.float32) - 20, 127.5, OWN_RANGE),
    "kelvin": (ramp(300).astype(np.float32) / 10 + 280, 127.5, OWN_RANGE),
    "hundredths": (ramp(100).astype(np.float32) / 10_000, 127.5, OWN_RANGE),
    "bytes": (ramp(255).astype(np.float32), 127.5, ""),
    "unit": (ramp(100).astype(np.float32) / 100, 127.5, ""),
    "half": (ramp(100).astype(np.float32) / 200, 63.75, ""),
    "three bits": (ramp(7).astype(np.uint16), 127.5, OWN_RANGE),
    "32 bits": (ramp(60_000).astype(np.int32) * 30_000, 127.5 * 1.8e9 / 2**32, "32-bit grey values"),
    "black": (np.zeros((wild.HEIGHT, wild.WIDTH), np.float32), 0, ""),
    "nan": (np.full((wild.HEIGHT, wild.WIDTH), np.nan, np.float32), 0, ""),
}


@pytest.mark.parametrize("name", VALUES)
def test_other_values_are_scaled_by_their_range(name: str) -> None:
    values, expected, how = VALUES[name]
    content = tiff(values)
    assert mean(content) == pytest.approx(expected, abs=2)
    assert scaled_as(content) == how


def test_a_declared_maximum_is_used_unless_it_is_far_above_the_values() -> None:
    dark = ramp(2_000)  # as an image of 12 bits it is half as bright as one that fills 11 or 12
    assert mean(tiff(dark, tiffinfo={281: 4_095})) == pytest.approx(127.5 * 2_000 / 4_095, abs=2)
    assert mean(tiff(ramp(1_000), tiffinfo={281: 4_095})) == pytest.approx(127.5 * 1_000 / 4_095, abs=2)
    assert mean(tiff(ramp(1_000), tiffinfo={281: 65_535})) == pytest.approx(127.5 * 1_000 / 1_023, abs=2)
    floats = ramp(1_000).astype(np.float32)
    assert mean(tiff(floats, tiffinfo={341: 2_000.0})) == pytest.approx(63.75, abs=2)


def test_scaling_is_logged_once_with_the_first_file(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_announced", set())
    for name in ("a.tif", "b.tif"):
        (tmp_path / name).write_bytes(tiff(ramp(4095)))
        decode(tmp_path / name, 32)
    decode(tiff(ramp(1023)), 32)
    first, second = caplog.messages
    assert first == f"images: {tmp_path}/a.tif has 12-bit grey values; scaled to 8 bits, as in all later images"
    assert second.startswith(f"images: {len(tiff(ramp(1023)))} bytes has 10-bit grey values; ")
