"""XMP in images, wherever a format has it."""

import io
import zlib
from pathlib import Path

import pytest
from PIL import Image, TiffImagePlugin
from PIL.PngImagePlugin import PngInfo

from mlkd.core.images import UnreadableImageError, embedded_xmp

PACKET = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
END = 12  # bytes of the last chunk of a PNG


def saved(kind: str, **options: object) -> bytes:
    """A small image in a format."""
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, kind, **options)
    return stream.getvalue()


def png() -> bytes:
    chunks = PngInfo()
    chunks.add_itxt("XML:com.adobe.xmp", PACKET.decode())
    return saved("PNG", pnginfo=chunks)


def late_png() -> bytes:
    """The chunk behind the pixels, where exiftool writes it."""
    plain = saved("PNG")
    body = b"iTXtXML:com.adobe.xmp\0\0\0\0\0" + PACKET
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    return plain[:-END] + chunk + plain[-END:]


def tiff() -> bytes:
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    directory[TiffImagePlugin.XMP] = PACKET
    return saved("TIFF", tiffinfo=directory)


IMAGES = {kind: saved(kind, xmp=PACKET) for kind in ("JPEG", "MPO", "WEBP", "AVIF")}
IMAGES |= {"PNG": png(), "PNG, late": late_png(), "TIFF": tiff()}


@pytest.mark.parametrize("name", IMAGES)
def test_xmp_is_found_in_every_format_that_has_it(name: str, tmp_path: Path) -> None:
    assert embedded_xmp(IMAGES[name]) == PACKET
    (tmp_path / "image").write_bytes(IMAGES[name])
    assert embedded_xmp(tmp_path / "image") == PACKET


@pytest.mark.parametrize("kind", ["JPEG", "MPO", "WEBP", "AVIF", "PNG", "TIFF", "GIF", "BMP"])
def test_an_image_without_xmp_has_none(kind: str) -> None:
    assert embedded_xmp(saved(kind)) is None


def test_a_damaged_image_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match="image 5 bytes: expected one of JPEG"):
        embedded_xmp(b"image")
    (tmp_path / "late.png").write_bytes(late_png()[:-40])
    with pytest.raises(UnreadableImageError, match=r"image late\.png: expected a whole image"):
        embedded_xmp(tmp_path / "late.png")
