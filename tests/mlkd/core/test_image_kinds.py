"""Which files are read as images, and which are only recognised."""

import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from mlkd.core import image_kinds
from mlkd.core.image_kinds import FORMATS, SUFFIXES
from mlkd.core.images import UnreadableImageError, decode
from tests.helpers import wild

IMAGES = wild.images()


def test_formats_are_those_of_the_suffixes() -> None:
    Image.init()
    of_suffix = {Image.registered_extensions()[suffix] for suffix in SUFFIXES} - {"MPO"}  # Pillow reads it as a JPEG
    assert of_suffix == set(FORMATS)


def test_the_suffix_decides_and_without_one_the_first_bytes(tmp_path: Path) -> None:
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


def test_an_unread_image_is_named_with_advice(tmp_path: Path) -> None:
    (tmp_path / "a.cr2").write_bytes(b"\0" * 100)
    with pytest.raises(UnreadableImageError, match=r"a\.cr2: expected one of JPEG, .*; convert them to JPEG or PNG$"):
        decode(tmp_path / "a.cr2", 32)
