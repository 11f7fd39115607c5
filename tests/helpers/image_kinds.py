"""Image files of all kinds that a camera, a phone or a program writes, drawn by chance."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

ORIENTATION = 0x0112  # EXIF tag


def draw(random: np.random.Generator, width: int, height: int) -> Image.Image:
    """Boxes and noise on a slope of colours."""
    corners = random.uniform(0, 255, (2, 1, 1, 3))
    slope = np.linspace(0, 1, height)[:, None, None]
    image = corners[0] * slope + corners[1] * (1 - slope) + random.normal(0, random.choice([0, 20]), (height, width, 3))
    for _ in range(4):
        top, left = random.integers(0, height), random.integers(0, width)
        image[top : top + height // 3 + 1, left : left + width // 3 + 1] = random.uniform(0, 255, 3)
    return Image.fromarray(image.clip(0, 255).astype(np.uint8))


def write_jpegs(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """JPEG files of many sizes, colours, qualities, orientations, sequential or progressive."""
    random = np.random.default_rng(seed)
    return [_write_jpeg(folder / f"{index}.jpg", random) for index in range(count)]


def _write_jpeg(file: Path, random: np.random.Generator) -> Path:
    most = int(random.choice([20, 150, 500]))
    image = draw(random, *map(int, random.integers(1, most, 2)))
    mode = str(random.choice(["RGB", "RGB", "RGB", "L", "CMYK"]))
    options: dict[str, Any] = {"quality": int(random.choice([5, 50, 75, 90, 100])), "exif": Image.Exif()}
    options["exif"][ORIENTATION] = int(random.integers(1, 9))
    options["progressive"] = bool(random.random() < 0.4)
    if mode == "RGB":
        options["subsampling"] = int(random.integers(0, 3))
    if random.random() < 0.3:
        options["restart_marker_blocks"] = int(random.integers(1, 20))
    image.convert(mode).save(file, **options)
    return file


def write_rare_jpegs(folder: Path) -> list[Path]:
    """JPEG files that Pillow reads and does not write: YCCK, and chroma subsampled 4:4:0 and 4:1:1."""
    random = np.random.default_rng(2)
    files = []
    for progressive in (False, True):
        for name, (mode, subsampling) in {"ycck": ("CMYK", 0), "440": ("RGB", 1), "411": ("RGB", 2)}.items():
            files.append(folder / f"{name}{progressive}.jpg")
            image = draw(random, 160, 112).convert(mode)
            image.save(files[-1], progressive=progressive, subsampling=subsampling)
            files[-1].write_bytes(_rewritten(bytearray(files[-1].read_bytes()), name))
    return files


def _rewritten(content: bytearray, name: str) -> bytes:
    """Another header for the same number of blocks: the image is scrambled and valid."""
    at = 2
    while content[at + 1] != 0xDA:
        if content[at + 1] == 0xEE and name == "ycck":
            content[at + 15] = 2  # Adobe's transform
        if content[at + 1] in (0xC0, 0xC2) and name != "ycck":
            height, width, sampling = {"440": (160, 112, 0x12), "411": (56, 320, 0x41)}[name]
            content[at + 5 : at + 9] = struct.pack(">HH", height, width)
            content[at + 11] = sampling
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return bytes(content)


def write_others(folder: Path) -> list[Path]:
    """One file each of other formats, modes and orientations."""
    random = np.random.default_rng(1)
    image = draw(random, 60, 41)
    alpha = image.copy()
    alpha.putalpha(Image.fromarray(random.integers(0, 256, (41, 60), dtype=np.uint8)))
    images = {"rgb.png": image, "rgba.png": alpha, "grey.png": image.convert("L"), "la.png": alpha.convert("LA")}
    images |= {"palette.png": image.quantize(16), "bits.png": image.convert("1"), "plain.bmp": image}
    images |= {
        "tiny.png": draw(random, 1, 1),
        "tall.png": draw(random, 2, 300),
        "large.png": draw(random, 23, 21).resize((2300, 2100)),
    }
    for name, one in images.items():
        one.save(folder / name)
    image.quantize(16).save(folder / "clear.png", transparency=3)
    image.save(folder / "exact.webp", lossless=True)
    alpha.save(folder / "alpha.webp", lossless=True)
    frames = [draw(random, 60, 41) for _ in range(3)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:], transparency=1)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        image.save(folder / f"turned{orientation}.png", exif=exif)
        image.save(folder / f"turned{orientation}.webp", exif=exif, lossless=True)
    xmp = b'<rdf:Description tiff:Orientation="6"/>'
    text = PngInfo()
    text.add_itxt("XML:com.adobe.xmp", xmp.decode())
    image.save(folder / "xmp.png", pnginfo=text)
    image.save(folder / "xmp.webp", xmp=xmp, lossless=True)
    image.save(folder / "xmp.jpg", xmp=xmp)
    _write_orientations(folder, image, xmp)
    deep = random.integers(0, 1 << 16, (41, 60, 3), dtype=np.uint16)
    (folder / "deep.png").write_bytes(deep_png(deep))
    Image.fromarray(deep[..., 0]).save(folder / "deep_grey.png")
    return sorted(folder.iterdir())


def _write_orientations(folder: Path, image: Image.Image, xmp: bytes) -> None:
    """Tags of the type SHORT and of others, in both byte orders, and XMP that is none by its keyword."""
    for order, start in (("<", b"II*\0"), (">", b"MM\0*")):
        for kind, code in {1: "B3x", 2: "B3x", 3: "HH", 4: "I", 6: "b3x", 8: "hh", 9: "i", 99: "I"}.items():
            value = struct.pack(order + code, *[6] * len(code.replace("3x", "")))
            tag = struct.pack(f"{order}IHHHI", 8, 1, ORIENTATION, kind, len(code.replace("3x", ""))) + value
            image.save(folder / f"kind{kind}{start[:1].decode()}.png", exif=b"Exif\0\0" + start + tag + bytes(4))
    longs = struct.pack("<IHHHIIIII", 8, 1, ORIENTATION, 4, 2, 26, 0, 6, 6)
    image.save(folder / "far.png", exif=b"Exif\0\0II*\0" + longs)
    twice = struct.pack("<IH", 8, 2) + b"".join(struct.pack("<HHIHH", ORIENTATION, 3, 1, one, 0) for one in (6, 3))
    image.save(folder / "twice.png", exif=b"Exif\0\0II*\0" + twice + bytes(4))
    comment = PngInfo()
    comment.add_itxt("Comment", xmp.decode())
    image.save(folder / "comment.png", pnginfo=comment)
    extension = b"http://ns.adobe.com/xmp/extension/\0" + xmp
    image.save(folder / "plain.jpg")
    plain = (folder / "plain.jpg").read_bytes()
    segment = b"\xff\xe1" + struct.pack(">H", 2 + len(extension)) + extension
    (folder / "extension.jpg").write_bytes(plain[:2] + segment + plain[2:])


def deep_png(values: NDArray[np.uint16]) -> bytes:
    """A PNG of 16 bits a channel, which Pillow does not write; (H, W, 3)."""
    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0),
        b"IDAT": zlib.compress(rows),
        b"IEND": b"",
    }
    written = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(written)
