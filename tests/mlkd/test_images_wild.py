from __future__ import annotations

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

from mlkd import images
from mlkd.images import FORMATS, SUFFIXES, UnreadablePicture, decode, load
from tests import wild

PICTURES = wild.pictures()
DAMAGES = 40  # of each picture


def inside(pixels: np.ndarray) -> np.ndarray:
    """Without the rows and columns where a lossy kind mixes two quarters."""
    return pixels[np.r_[:12, 20:32]][:, np.r_[:20, 28:48]].astype(int)


@pytest.mark.parametrize("name", PICTURES)
def test_everyone_sees_the_same_in_it(name: str, tmp_path: Path) -> None:
    picture = PICTURES[name]
    pixels = np.asarray(decode(picture.content, 64))
    assert pixels.dtype == np.uint8
    assert pixels.shape == picture.seen.shape
    if picture.tolerance:
        np.testing.assert_allclose(inside(pixels), inside(picture.seen), atol=picture.tolerance)
    else:
        np.testing.assert_array_equal(pixels, picture.seen)
    file = tmp_path / name
    file.write_bytes(picture.content)
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


@pytest.mark.parametrize("name", PICTURES)
def test_whatever_is_damaged_is_a_picture_or_named_unreadable(name: str) -> None:
    chance = random.Random(name)
    for _ in range(DAMAGES):
        content = damaged(PICTURES[name].content, chance)
        refused = refusal(content)
        assert refused is None or str(refused).startswith(f"picture {len(content)} bytes: expected ")


def refusal(content: bytes) -> UnreadablePicture | None:
    try:
        assert decode(content, 16).mode == "RGB"
    except UnreadablePicture as cause:
        return cause
    return None


@pytest.mark.parametrize("error", [KeyError("Compression"), IndexError(), MemoryError(), RuntimeError("decoder -2")])
def test_whatever_pillow_raises_is_an_unreadable_picture(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(Image.Image, "convert", broken)
    with pytest.raises(UnreadablePicture, match=rf"expected a whole picture, got {type(error).__name__}"):
        decode(PICTURES["plain.png"].content, 16)


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
        decoded = list(threads.map(lambda _: decode(PICTURES["plain.png"].content, 16).size, range(16)))
    assert set(decoded) == {(48, 32)}
    assert list(warnings.filters) == before


def bomb(side: int, kind: str) -> bytes:
    """A PNG or a JPEG that says it is `side` pixels wide and high; only its beginning is there."""
    if kind == "PNG":
        return wild.png(np.zeros((wild.HEIGHT, wild.WIDTH, 3), np.uint8), 8, 2, size=(side, side))
    size = side.to_bytes(2, "big") * 2
    plain = PICTURES["baseline.jpg"].content
    return plain.replace(wild.HEIGHT.to_bytes(2, "big") + wild.WIDTH.to_bytes(2, "big"), size, 1)


@pytest.mark.parametrize(("side", "kind"), [(14_150, "PNG"), (14_150, "JPEG"), (60_000, "JPEG"), (10_000, "PNG")])
def test_a_bomb_is_refused_before_it_is_decoded(side: int, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image.core, "new", lambda *_: pytest.fail("memory was taken"))
    monkeypatch.setattr(Image.core, "fill", lambda *_: pytest.fail("memory was taken"))
    with pytest.raises(UnreadablePicture, match=r"expected a whole picture, got .*pixels"):
        decode(bomb(side, kind), 64)


def test_a_large_photograph_is_decoded_at_its_reduced_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    """108 megapixels, as telephones take them: more than Pillow takes without a warning, but few after reduction."""
    content = wild.saved(Image.new("L", (12_000, 9_000), 77), "JPEG")
    picture = decode(content, 64)
    assert picture.size == (1500, 1125)
    assert picture.getpixel((700, 700)) == (77, 77, 77)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected one of JPEG, PNG, GIF, BMP, WEBP, TIFF, AVIF, got unknown bytes"),
        (b"just a text", ".*got unknown bytes"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n", ".*got unknown bytes"),
        (PICTURES["progressive.jpg"].content[:400], "expected a whole picture, got .*truncated"),
    ],
)
def test_no_picture(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "holiday.jpg"
    file.write_bytes(content)
    with pytest.raises(UnreadablePicture, match=f"^picture holiday.jpg: {message}"):
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
    with pytest.raises(UnreadablePicture, match=expected):
        decode(path, 16)


def test_a_file_that_this_user_may_not_read_is_not_called_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:  # root may read everything
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    (tmp_path / "closed.jpg").touch()
    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(UnreadablePicture, match=r"^picture closed.jpg: expected a file that this user may read"):
        decode(tmp_path / "closed.jpg", 16)


def test_formats_are_those_of_the_suffixes() -> None:
    Image.init()
    of_suffix = {Image.registered_extensions()[suffix] for suffix in SUFFIXES} - {"MPO"}  # Pillow reads it as a JPEG
    assert of_suffix == set(FORMATS)
