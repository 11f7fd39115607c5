"""Decoding of images of all kinds, of damaged files, and of files that are no images."""

import errno
import io
import os
import random
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlkd.core import images
from mlkd.core.image_kinds import SUFFIXES
from mlkd.core.images import UnreadableImageError, aspect, declared_pixels, decode, load
from tests.helpers import wild

IMAGES = wild.images()
DAMAGES = 20  # of each image


def inside(pixels: np.ndarray) -> np.ndarray:
    """Without the rows and columns where a lossy kind mixes two quarters."""
    return pixels[np.r_[:12, 20:32]][:, np.r_[:20, 28:48]].astype(int)


@pytest.mark.parametrize("name", IMAGES)
def test_pixels_are_those_that_viewers_show(name: str, tmp_path: Path) -> None:
    image = IMAGES[name]
    pixels = np.asarray(decode(image.content, 64))
    assert pixels.dtype == np.uint8
    assert pixels.shape == image.seen.shape
    if image.tolerance:
        np.testing.assert_allclose(inside(pixels), inside(image.seen), atol=image.tolerance)
    else:
        np.testing.assert_array_equal(pixels, image.seen)
    file = tmp_path / name
    file.write_bytes(image.content)
    np.testing.assert_array_equal(decode(file, 64), pixels)
    assert file.suffix in SUFFIXES


def damaged(content: bytes, chance: random.Random) -> bytes:
    """A few bytes changed, taken out, or the end cut off."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(changed))
        kind = chance.random()
        if kind < 0.6:
            changed[place] = chance.randrange(256)
        elif kind < 0.8:
            del changed[max(place, 1) : place + chance.randint(1, 8)]
        else:
            del changed[max(place, 1) :]
    return bytes(changed)


@pytest.mark.parametrize("name", IMAGES)
def test_a_damaged_file_is_decoded_or_refused_with_its_name(name: str) -> None:
    chance = random.Random(name)
    for _ in range(DAMAGES):
        content = damaged(IMAGES[name].content, chance)
        try:
            assert decode(content, 16).mode == "RGB"
        except UnreadableImageError as cause:
            assert str(cause).startswith(f"image {len(content)} bytes: expected ")  # noqa: PT017  (either is right)


@pytest.mark.parametrize("error", [KeyError("Compression"), IndexError(), MemoryError(), RuntimeError("decoder -2")])
def test_any_exception_of_pillow_is_an_unreadable_image(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(Image.Image, "convert", broken)
    with pytest.raises(UnreadableImageError, match=rf"expected a whole image, got {type(error).__name__}"):
        decode(IMAGES["plain.png"].content, 16)


def test_warnings_of_pillow_are_hidden(recwarn: pytest.WarningsRecorder) -> None:
    content = cut_exif()
    filters = list(warnings.filters)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning), Image.open(io.BytesIO(content)) as opened:  # or nothing would be tested
            opened.getexif()
        np.testing.assert_allclose(inside(np.asarray(decode(content, 64))), inside(np.asarray(wild.drawing())), atol=4)
    assert not recwarn.list
    assert list(warnings.filters) == filters


def cut_exif() -> bytes:
    """A JPEG whose EXIF has a tag that begins after its end, for which Pillow warns."""
    tags = wild.exif(1)
    tags[0x010E] = "a long description " * 9
    return wild.saved(wild.drawing(), "JPEG", quality=95, exif=tags.tobytes()[:60])


def test_threads_restore_the_warning_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(4)
    real = Image.open

    def meeting(*arguments: object, **options: object) -> object:
        together.wait(10)
        warnings.warn_explicit("odd", UserWarning, "odd.py", 1, module="PIL.Image")
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(images.Image, "open", meeting)
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as threads:
        decoded = list(threads.map(lambda _: decode(IMAGES["plain.png"].content, 16).size, range(16)))
    assert set(decoded) == {(48, 32)}
    assert list(warnings.filters) == before


def bomb(side: int, kind: str) -> bytes:
    """A PNG or a JPEG that says it is `side` pixels wide and high; only its beginning is there."""
    if kind == "PNG":
        return wild.png(np.zeros((wild.HEIGHT, wild.WIDTH, 3), np.uint8), 8, 2, size=(side, side))
    size = side.to_bytes(2, "big") * 2
    plain = IMAGES["baseline.jpg"].content
    return plain.replace(wild.HEIGHT.to_bytes(2, "big") + wild.WIDTH.to_bytes(2, "big"), size, 1)


@pytest.mark.parametrize(("side", "kind"), [(14_150, "PNG"), (14_150, "JPEG"), (60_000, "JPEG"), (10_000, "PNG")])
def test_a_huge_image_is_refused_before_it_is_decoded(side: int, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image.core, "new", lambda *_: pytest.fail("memory was taken"))
    monkeypatch.setattr(Image.core, "fill", lambda *_: pytest.fail("memory was taken"))
    with pytest.raises(UnreadableImageError, match=r"expected a whole image, got .*pixels"):
        decode(bomb(side, kind), 64)


def test_a_large_photograph_is_decoded_at_its_reduced_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    """108 megapixels, as telephones take them: more than Pillow takes without a warning, but few after reduction."""
    content = wild.saved(Image.new("L", (12_000, 9_000), 77), "JPEG")
    image = decode(content, 64)
    assert image.size == (1500, 1125)
    assert image.getpixel((700, 700)) == (77, 77, 77)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected one of JPEG, PNG, GIF, BMP, WEBP, TIFF, AVIF, got unknown bytes"),
        (b"just a text", ".*got unknown bytes"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n", ".*got unknown bytes"),
        (IMAGES["progressive.jpg"].content[:400], "expected a whole image, got .*truncated"),
    ],
)
def test_a_file_that_is_no_image_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "holiday.jpg"
    file.write_bytes(content)
    with pytest.raises(UnreadableImageError, match=f"^image holiday.jpg: {message}"):
        load(file, 32)


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "link to a fifo", "missing", "broken link"])
def test_a_path_that_is_no_regular_file_is_not_opened(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, expected = tmp_path / "odd.jpg", "got a pipe or device"
    if kind == "folder":
        path.mkdir()
        expected = "got a folder"
    elif kind in ("missing", "broken link"):
        expected = "expected a file, got none of this name"
    if kind == "device":
        path = Path(os.devnull)
    if "fifo" in kind:
        os.mkfifo(path)
    if "link" in kind:
        path = tmp_path / "link.jpg"
        path.symlink_to(tmp_path / "odd.jpg")
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("it was opened"))
    with pytest.raises(UnreadableImageError, match=expected):
        decode(path, 16)


def test_a_file_without_read_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:  # root may read everything
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    (tmp_path / "closed.jpg").touch()
    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(UnreadableImageError, match=r"^image closed.jpg: expected a file that this user may read"):
        decode(tmp_path / "closed.jpg", 16)


def test_the_pixels_of_a_jpeg_are_those_before_its_reduction(tmp_path: Path) -> None:
    Image.new("L", (800, 600)).save(tmp_path / "a.jpg")
    for source in (tmp_path / "a.jpg", (tmp_path / "a.jpg").read_bytes()):
        assert decode(source, 32).size == (100, 75)
        assert declared_pixels(source) == 480_000
    with pytest.raises(UnreadableImageError, match="got unknown bytes"):
        declared_pixels(b"text")


@pytest.mark.parametrize("orientation", range(9))
def test_the_aspect_ratio_is_that_of_the_upright_image(tmp_path: Path, orientation: int) -> None:
    (tmp_path / "a.jpg").write_bytes(wild.saved(Image.new("RGB", (40, 20)), "JPEG", exif=wild.exif(orientation)))
    upright = decode(tmp_path / "a.jpg", 16)
    assert aspect(tmp_path / "a.jpg") == upright.width / upright.height == (0.5 if orientation >= 5 else 2)
    (tmp_path / "b.jpg").write_bytes(b"no image")
    with pytest.raises(UnreadableImageError, match=r"b\.jpg"):
        aspect(tmp_path / "b.jpg")


def test_a_reduced_jpeg_has_the_pixels_of_the_full_one() -> None:
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 255, (8, 10, 3), dtype=np.uint8)).resize(
        (1600, 1200), Image.Resampling.BICUBIC
    )
    content = wild.saved(smooth, "JPEG", quality=95)
    assert decode(content, 64).size == (200, 150)  # an eighth; at least twice 64 on both sides
    full = np.asarray(smooth.resize((64, 64), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(load(content, 64) - full).mean() < 2
