"""HEIC files as phones write them, read with pillow-heif where it is installed."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlkd.core import image_kinds, images
from mlkd.core.images import ORIENTATION, UnreadableImageError, aspect, decode

pillow_heif = pytest.importorskip("pillow_heif")
BLUE, RED = (30, 30, 200), (200, 30, 30)


@pytest.fixture(autouse=True)
def read_again() -> None:
    """Other tests change Pillow's registry."""
    image_kinds.plugins.cache_clear()


def write(file: Path, orientation: int = 1, size: tuple[int, int] = (120, 80)) -> Image.Image:
    """A HEIC with a blue quarter, top left as stored, that is rotated by its own properties and says so in its EXIF."""
    stored = Image.new("RGB", size, RED)
    stored.paste(BLUE, (0, 0, size[0] // 2, size[1] // 2))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    heif = pillow_heif.from_pillow(stored)
    heif[0].info["exif"] = exif.tobytes()
    heif.save(file, quality=90)
    return stored


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_once(tmp_path: Path, orientation: int) -> None:
    stored = write(tmp_path / "a.heic", orientation)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored.save(tmp_path / "a.jpg", exif=exif, quality=95)
    heic, jpeg = (np.asarray(decode(tmp_path / f"a.{kind}", 32)).astype(int) for kind in ("heic", "jpg"))
    assert heic.shape == jpeg.shape == ((120, 80, 3) if orientation >= 5 else (80, 120, 3))
    assert abs(heic - jpeg).mean() < 3  # edges differ most
    assert aspect(tmp_path / "a.heic") == aspect(tmp_path / "a.jpg")


def test_alpha_is_laid_over_white_and_grey_is_read(tmp_path: Path) -> None:
    for mode, colour, expected in (("RGBA", (0, 0, 0, 0), 255), ("L", 100, 100)):
        pillow_heif.from_pillow(Image.new(mode, (64, 64), colour)).save(tmp_path / "a.hif")  # type: ignore[arg-type]
        np.testing.assert_allclose(np.asarray(decode(tmp_path / "a.hif", 32)), expected, atol=3)


def test_files_are_found_by_suffix_and_by_their_first_bytes(tmp_path: Path) -> None:
    names = ["a.heic", "b.HEIF", "c.hif", "photo"]
    write(tmp_path / "photo.heic")
    for name in names:
        (tmp_path / name).write_bytes((tmp_path / "photo.heic").read_bytes())
    found, unread = image_kinds.image_files(tmp_path / name for name in names)
    assert [file.name for file in found] == names
    assert unread == {}
    assert {decode(file, 32).size for file in found} == {(120, 80)}


def test_a_large_image_is_reduced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.heic")
    monkeypatch.setattr(images, "LARGE", 1000)
    assert decode(tmp_path / "a.heic", 10).size == (20, 20)


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.heic", size=(200, 200))
    content = (tmp_path / "a.heic").read_bytes()
    for length in (20, len(content) // 2, len(content) - 10):
        with pytest.raises(UnreadableImageError, match="expected "):
            decode(content[:length], 32)
