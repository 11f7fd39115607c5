from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlkd.core.images import UnreadableImageError, aspect, decode, load

LEFT, RIGHT = (200, 40, 30), (20, 60, 210)


def two_halves(width: int = 40, height: int = 20) -> Image.Image:
    image = Image.new("RGB", (width, height), LEFT)
    image.paste(RIGHT, (width // 2, 0, width, height))
    return image


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def assert_halves(pixels: np.ndarray, tolerance: int = 3) -> None:
    np.testing.assert_allclose(pixels[4, 1], LEFT, atol=tolerance)
    np.testing.assert_allclose(pixels[4, -2], RIGHT, atol=tolerance)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK"])
def test_every_mode_gives_the_same_colours(mode: str) -> None:
    image = two_halves()
    content = encoded(image.convert("CMYK"), "JPEG", quality=100) if mode == "CMYK" else encoded(image.convert(mode))
    pixels = load(content, 8)
    assert pixels.shape == (8, 8, 3)
    assert pixels.dtype == np.uint8
    assert_halves(pixels, tolerance=8 if mode == "CMYK" else 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_file_kinds(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "image"
    file.write_bytes(encoded(two_halves(), kind))
    assert_halves(load(file, 8), tolerance=14)


def test_alpha_and_transparent_palette_are_laid_over_white() -> None:
    image = two_halves().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size).point(lambda v: 0 if v < 128 else 255))
    pixels = load(encoded(image), 20)
    np.testing.assert_array_equal(pixels[1, 1], (255, 255, 255))
    np.testing.assert_allclose(pixels[-2, 1], LEFT, atol=3)
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([9, 9, 9, 200, 0, 0])
    assert load(encoded(palette, transparency=0), 8).min() == 255


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    ramp = np.tile(np.linspace(0, 65535, 32).astype(np.uint16), (32, 1))
    pixels = load(encoded(Image.fromarray(ramp)), 32)
    np.testing.assert_array_equal(pixels[..., 0], ramp >> 8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    upright = two_halves(16, 16)
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's transpose that makes a camera's image
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(load(encoded(stored, exif=exif), 16), np.asarray(upright))


@pytest.mark.parametrize("orientation", range(9))
def test_the_aspect_ratio_is_that_of_the_upright_image(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "a.jpg").write_bytes(encoded(two_halves(40, 20), "JPEG", exif=exif))
    upright = decode(tmp_path / "a.jpg", 16)
    assert aspect(tmp_path / "a.jpg") == upright.width / upright.height == (0.5 if orientation >= 5 else 2)
    (tmp_path / "b.jpg").write_bytes(b"no image")
    with pytest.raises(UnreadableImageError, match=r"b\.jpg"):
        aspect(tmp_path / "b.jpg")


def test_large_jpegs_are_decoded_at_a_reduced_scale_and_look_the_same() -> None:
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 255, (8, 10, 3), dtype=np.uint8)).resize(
        (1600, 1200), Image.Resampling.BICUBIC
    )
    content = encoded(smooth, "JPEG", quality=95)
    assert decode(content, 64).size == (200, 150)  # an eighth; at least twice 64 on both sides
    full = np.asarray(smooth.resize((64, 64), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(load(content, 64) - full).mean() < 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got unknown bytes"),
        (b"just text", "got unknown bytes"),
        ("truncated jpeg", "expected a whole image"),
        ("truncated png", "expected a whole image"),
    ],
)
def test_unreadable_images_are_named(content: bytes | str, message: str, tmp_path: Path) -> None:
    if isinstance(content, str):
        whole = encoded(Image.effect_noise((64, 64), 90), "JPEG" if "jpeg" in content else "PNG")
        content = whole[: len(whole) // 2]
    file = tmp_path / "holiday.jpg"
    file.write_bytes(content)
    with pytest.raises(UnreadableImageError, match=f"holiday.jpg: .*{message}"):
        load(file, 32)


def test_a_missing_file_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match=r"gone\.png"):
        load(tmp_path / "gone.png", 32)
