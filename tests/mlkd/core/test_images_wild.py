from __future__ import annotations

import errno
import io
import os
import random
import sys
import threading
import types
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from mlkd.core import image_kinds, images
from mlkd.core.image_kinds import FORMATS, SUFFIXES
from mlkd.core.image_values import scaled
from mlkd.core.images import UnreadableImageError, decode, load
from tests.helpers import wild

IMAGES = wild.images()
DAMAGES = 40  # of each image


def inside(pixels: np.ndarray) -> np.ndarray:
    """Without the rows and columns where a lossy kind mixes two quarters."""
    return pixels[np.r_[:12, 20:32]][:, np.r_[:20, 28:48]].astype(int)


@pytest.mark.parametrize("name", IMAGES)
def test_everyone_sees_the_same_in_it(name: str, tmp_path: Path) -> None:
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
def test_whatever_is_damaged_is_an_image_or_named_unreadable(name: str) -> None:
    chance = random.Random(name)
    for _ in range(DAMAGES):
        content = damaged(IMAGES[name].content, chance)
        refused = refusal(content)
        assert refused is None or str(refused).startswith(f"image {len(content)} bytes: expected ")


def refusal(content: bytes) -> UnreadableImageError | None:
    try:
        assert decode(content, 16).mode == "RGB"
    except UnreadableImageError as cause:
        return cause
    return None


@pytest.mark.parametrize("error", [KeyError("Compression"), IndexError(), MemoryError(), RuntimeError("decoder -2")])
def test_whatever_pillow_raises_is_an_unreadable_image(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(Image.Image, "convert", broken)
    with pytest.raises(UnreadableImageError, match=rf"expected a whole image, got {type(error).__name__}"):
        decode(IMAGES["plain.png"].content, 16)


def test_warnings_of_pillow_are_neither_shown_nor_errors(recwarn: pytest.WarningsRecorder) -> None:
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


def test_threads_leave_the_filters_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_a_bomb_is_refused_before_it_is_decoded(side: int, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_no_image(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "holiday.jpg"
    file.write_bytes(content)
    with pytest.raises(UnreadableImageError, match=f"^image holiday.jpg: {message}"):
        load(file, 32)


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "link to a fifo", "missing", "broken link"])
def test_what_is_no_file_is_refused_without_opening_it(
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


def test_a_file_that_this_user_may_not_read_is_not_called_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:  # root may read everything
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    (tmp_path / "closed.jpg").touch()
    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(UnreadableImageError, match=r"^image closed.jpg: expected a file that this user may read"):
        decode(tmp_path / "closed.jpg", 16)


def test_formats_are_those_of_the_suffixes() -> None:
    Image.init()
    of_suffix = {Image.registered_extensions()[suffix] for suffix in SUFFIXES} - {"MPO"}  # Pillow reads it as a JPEG
    assert of_suffix == set(FORMATS)


def mean(content: bytes) -> float:
    return float(load(content, 32).mean())


def scaled_as(content: bytes) -> str:
    return scaled(decode(content, 32))


def ramp(peak: int) -> np.ndarray:
    return np.linspace(0, peak, wild.WIDTH * wild.HEIGHT).round().astype(np.uint16).reshape(wild.HEIGHT, wild.WIDTH)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("colour", [False, True])
def test_fewer_bits_in_sixteen_are_neither_black_nor_white(bits: int, colour: bool) -> None:
    """The mean of a ramp is half of white; of colours Pillow gives the high bytes alone, of 10 bits four tones."""
    values = ramp(2**bits - 1).astype(">u2")
    if colour:
        if bits == 8:
            pytest.skip("nothing is left in the high bytes")
        content = wild.png(np.stack([values] * 3, axis=2).astype(">u2"), 16, 2)
    else:
        content = wild.png(values, 16, 0)
    assert mean(content) == pytest.approx(127.5, abs=2)
    told = scaled_as(content)
    assert told == ("" if bits == 16 else f"{bits}-bit colours" if colour else f"{bits}-bit grey values")


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


@pytest.mark.parametrize(
    ("values", "expected", "how"),
    [
        (ramp(4095).astype(np.float32), 127.5, "values with a range of their own"),
        (ramp(40).astype(np.float32) - 20, 127.5, "values with a range of their own"),
        (ramp(300).astype(np.float32) / 10 + 280, 127.5, "values with a range of their own"),  # kelvin
        (ramp(100).astype(np.float32) / 10_000, 127.5, "values with a range of their own"),
        (ramp(255).astype(np.float32), 127.5, ""),
        (ramp(100).astype(np.float32) / 100, 127.5, ""),
        (ramp(100).astype(np.float32) / 200, 63.75, ""),
        (ramp(7).astype(np.uint16), 127.5, "values with a range of their own"),
        (ramp(60_000).astype(np.int32) * 30_000, 127.5 * 1.8e9 / 2**32, "32-bit grey values"),
        (np.zeros((wild.HEIGHT, wild.WIDTH), np.float32), 0, ""),
        (np.full((wild.HEIGHT, wild.WIDTH), np.nan, np.float32), 0, ""),
    ],
    ids=[
        "12 bits",
        "negative",
        "kelvin",
        "hundredths",
        "bytes",
        "unit",
        "half",
        "three bits",
        "32 bits",
        "black",
        "nan",
    ],
)
def test_other_values_are_scaled_by_their_range(values: np.ndarray, expected: float, how: str) -> None:
    content = tiff(values)
    assert mean(content) == pytest.approx(expected, abs=2)
    assert scaled_as(content) == how


def test_a_declared_maximum_counts_unless_it_is_far_above_the_values() -> None:
    dark = ramp(2_000)  # as an image of 12 bits it is half as bright as one that fills 11 or 12
    assert mean(tiff(dark, tiffinfo={281: 4_095})) == pytest.approx(127.5 * 2_000 / 4_095, abs=2)
    assert mean(tiff(ramp(1_000), tiffinfo={281: 4_095})) == pytest.approx(127.5 * 1_000 / 4_095, abs=2)
    assert mean(tiff(ramp(1_000), tiffinfo={281: 65_535})) == pytest.approx(127.5 * 1_000 / 1_023, abs=2)
    floats = ramp(1_000).astype(np.float32)
    assert mean(tiff(floats, tiffinfo={341: 2_000.0})) == pytest.approx(63.75, abs=2)


def test_scaling_is_told_once_with_the_first_file(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_announced", set())
    for name in ("a.tif", "b.tif"):
        (tmp_path / name).write_bytes(tiff(ramp(4095)))
        decode(tmp_path / name, 32)
    decode(tiff(ramp(1023)), 32)
    told, again = caplog.messages
    assert told == f"images: {tmp_path}/a.tif has 12-bit grey values; scaled to 8 bits, as in all later images"
    assert again.startswith(f"images: {len(tiff(ramp(1023)))} bytes has 10-bit grey values; ")


def test_files_are_sorted_out_by_suffix_and_without_one_by_their_first_bytes(tmp_path: Path) -> None:
    whole = [name for name in IMAGES if name.split(".")[-1] in ("jpg", "png", "gif", "bmp", "tif", "webp", "avif")]
    for number, name in enumerate(whole):
        (tmp_path / f"{number}").write_bytes(IMAGES[name].content)
    with_suffix = ["a.JPE", "b.mpo", "c.Tif"]
    others = ["LICENSE", "notes.txt", "x.csv", "short"]
    for name in (*with_suffix, *others, "1.heic", "2.HEIC", "3.jxl", "4.cr2"):
        (tmp_path / name).write_bytes(b"ab")
    os.mkfifo(tmp_path / "pipe")
    image_kinds.plugins.cache_clear()
    found, unread = image_kinds.image_files(sorted(tmp_path.iterdir()))
    assert sorted(file.name for file in found) == sorted([*map(str, range(len(whole))), *with_suffix])
    assert unread == {".heic": 2, ".jxl": 1, ".cr2": 1}
    assert image_kinds.unread_images(unread) == (
        "1 .cr2, 2 .heic, 1 .jxl; install pillow-heif, or convert them to JPEG or PNG"
    )
    assert image_kinds.unread_images({}) == ""


def test_pillow_heif_is_used_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in that reads a made-up kind of file as pillow-heif reads HEIC: through Pillow's own registry."""

    class Heif(ImageFile.ImageFile):
        format = "HEIF"

        def _open(self) -> None:
            assert self.fp.read(4) == b"heif"
            self._size, self._mode = (4, 4), "RGB"
            self.tile = [ImageFile._Tile("raw", (0, 0, 4, 4), 4, "RGB")]

    def register() -> None:
        Image.register_open("HEIF", Heif, lambda prefix: prefix[:4] == b"heif")
        Image.register_extension("HEIF", ".heic")

    content = b"heif" + bytes([9, 99, 199]) * 16
    image_kinds.plugins.cache_clear()
    with pytest.raises(UnreadableImageError, match="got unknown bytes"):
        decode(content, 4)
    (tmp_path / "a.heic").write_bytes(content)
    for registry in (Image.OPEN, Image.EXTENSION):
        monkeypatch.setattr(Image, "OPEN" if registry is Image.OPEN else "EXTENSION", dict(registry))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    monkeypatch.setitem(sys.modules, "pillow_heif", types.SimpleNamespace(register_heif_opener=register))
    image_kinds.plugins.cache_clear()
    np.testing.assert_array_equal(np.asarray(decode(tmp_path / "a.heic", 4))[0, 0], (9, 99, 199))
    assert image_kinds.image_files([tmp_path / "a.heic"]) == ([tmp_path / "a.heic"], {})
    image_kinds.plugins.cache_clear()


def test_an_image_of_an_unread_kind_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.cr2").write_bytes(b"\0" * 100)
    with pytest.raises(UnreadableImageError, match=r"a\.cr2: expected one of JPEG, .*; convert them to JPEG or PNG$"):
        decode(tmp_path / "a.cr2", 32)
