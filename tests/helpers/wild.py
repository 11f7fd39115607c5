"""Images as people have them: every kind of file, mode and trick, all of one drawing of four colours."""

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, features

WIDTH, HEIGHT = 48, 32
TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # EXIF orientation -> Pillow's transpose that a camera's image had
ADAM7 = (  # x, y, steps
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
)  # fmt: skip


@dataclass(frozen=True)
class Wild:
    """A file's content, the pixels (H, W, 3) that everyone sees in it, how far inside the quarters it may be off."""

    content: bytes
    seen: NDArray[np.uint8]
    tolerance: int = 0


def drawing() -> Image.Image:
    """48 x 32: red, green, blue and grey quarters, so that every turn and every swap of channels shows."""
    image = Image.new("RGB", (WIDTH, HEIGHT), (200, 40, 30))
    image.paste((30, 180, 60), (24, 0, 48, 16))
    image.paste((20, 60, 210), (0, 16, 24, 32))
    image.paste((90, 90, 90), (24, 16, 48, 32))
    return image


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """The content of a file that Pillow writes."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def exif(orientation: int) -> Image.Exif:
    """Only an orientation."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def images() -> dict[str, Wild]:
    """By name; AVIF only where Pillow can write it."""
    return {**jpegs(), **pngs(), **animations(), **tiffs(), **others()}


def jpegs() -> dict[str, Wild]:
    """Lossy, but the quarters are whole blocks."""
    image = drawing()
    seen, best = np.asarray(image), {"quality": 95, "subsampling": 0}
    grey = np.asarray(image.convert("L").convert("RGB"))
    plain = saved(image, "JPEG", **best)
    found = {
        "baseline.jpg": Wild(plain, seen, 4),
        "progressive.jpg": Wild(saved(image, "JPEG", **best, progressive=True), seen, 4),
        "grey.jpg": Wild(saved(image.convert("L"), "JPEG", quality=95), grey, 4),
        "cmyk.jpg": Wild(saved(image.convert("CMYK"), "JPEG", **best), seen, 4),
        "broken-exif.jpg": Wild(saved(image, "JPEG", **best, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x01\x02"), seen, 4),
        "no-exif-at-all.jpg": Wild(saved(image, "JPEG", **best, exif=b"Exif\0\0nonsense"), seen, 4),
        "impossible-orientation.jpg": Wild(saved(image, "JPEG", **best, exif=exif(77)), seen, 4),
        "trailing-bytes.jpg": Wild(plain + b"more" * 50, seen, 4),
        "several.mpo": Wild(
            saved(image, "MPO", **best, save_all=True, append_images=[Image.new("RGB", image.size)]), seen, 12
        ),
    }
    for orientation, turn in TURNS.items():
        stored = image.transpose(Image.Transpose(turn))
        content = saved(stored, "JPEG", **best, exif=exif(orientation))
        found[f"orientation-{orientation}.jpg"] = Wild(content, seen, 4)
    return found


def pngs() -> dict[str, Wild]:
    """Exact; what is transparent is seen on white."""
    image = drawing()
    seen = np.asarray(image)
    grey, palette = image.convert("L"), image.convert("P", palette=Image.Palette.ADAPTIVE)
    faded, holes = image.copy(), seen.copy()
    faded.putalpha(Image.new("L", image.size, 255))
    faded.paste((9, 9, 9, 0), (0, 0, 24, 16))
    holes[:16, :24] = 255
    corner = palette.getpixel((0, 0))
    high = (seen.astype(np.uint16) << 8 | 0x5B).astype(">u2")  # the low bytes are to be dropped
    bits = np.where(np.asarray(grey) > 80, 255, 0).astype(np.uint8)
    return {
        "plain.png": Wild(saved(image, "PNG"), seen),
        "broken-exif.png": Wild(saved(image, "PNG", pnginfo=no_exif()), seen),
        "alpha.png": Wild(saved(faded, "PNG"), holes),
        "grey-alpha.png": Wild(saved(faded.convert("LA"), "PNG"), on_white(grey, holes)),
        "palette.png": Wild(saved(palette, "PNG"), seen),
        "palette-transparent.png": Wild(saved(palette, "PNG", transparency=corner), holes),
        "palette-translucent.png": Wild(saved(palette, "PNG", transparency=alphas(palette, corner)), holes),
        "one-colour-transparent.png": Wild(saved(image, "PNG", transparency=(200, 40, 30)), holes),
        "grey-16-bit.png": Wild(png(high[..., 0], 16, 0), np.repeat(seen[..., :1], 3, axis=2)),
        "colour-16-bit.png": Wild(png(high, 16, 2), seen),
        "interlaced.png": Wild(png(seen, 8, 2, interlaced=True), seen),
        "1-bit.png": Wild(saved(Image.fromarray(bits).convert("1"), "PNG"), np.repeat(bits[..., None], 3, axis=2)),
        "turned.png": Wild(saved(image.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif(6)), seen),
    }


def animations() -> dict[str, Wild]:
    """The first frame is what counts."""
    image = drawing()
    seen = np.asarray(image)
    more = {"save_all": True, "append_images": [Image.new("RGB", image.size, (0, 0, 0))], "duration": 50}
    palette = image.convert("P", palette=Image.Palette.ADAPTIVE)
    holes, clear = seen.copy(), image.convert("RGBA")
    holes[:16, :24] = 255
    clear.paste((9, 9, 9, 0), (0, 0, 24, 16))
    corner = palette.getpixel((0, 0))
    return {
        "plain.gif": Wild(saved(palette, "GIF"), seen),
        "animated.gif": Wild(saved(palette, "GIF", **more), seen),
        "transparent.gif": Wild(saved(palette, "GIF", transparency=corner), holes),
        "lossless.webp": Wild(saved(image, "WEBP", lossless=True), seen),
        "lossy.webp": Wild(saved(image, "WEBP", quality=95), seen, 4),
        "alpha.webp": Wild(saved(clear, "WEBP", lossless=True), holes),
        "animated.webp": Wild(saved(image, "WEBP", lossless=True, **more), seen),
        "animated.png": Wild(saved(image, "PNG", **more), seen),
    }


def tiffs() -> dict[str, Wild]:
    """Exact, but for the CMYK one, which Pillow converts."""
    image = drawing()
    seen = np.asarray(image)
    grey = np.repeat(seen[..., :1], 3, axis=2)
    page = Image.new("RGB", (9, 7), (0, 0, 0))
    high = Image.fromarray(seen[..., 0].astype(np.uint16) << 8 | 0x5B)
    unit, bytes_ = (Image.fromarray(seen[..., 0].astype(np.float32) / scale) for scale in (255, 1))
    gaps = seen[..., 0] / np.float32(255)
    gaps[:16, :24] = np.nan
    return {
        "lzw.tif": Wild(saved(image, "TIFF", compression="tiff_lzw"), seen),
        "raw.tiff": Wild(saved(image, "TIFF"), seen),
        "pages.tif": Wild(saved(image, "TIFF", save_all=True, append_images=[page]), seen),
        "16-bit.tif": Wild(saved(high, "TIFF"), grey),
        "float-0-to-1.tif": Wild(saved(unit, "TIFF"), grey, 1),
        "float-0-to-255.tif": Wild(saved(bytes_, "TIFF"), grey),
        "float-with-gaps.tif": Wild(
            saved(Image.fromarray(gaps), "TIFF"), np.where(np.isnan(gaps)[..., None], 0, grey), 1
        ),
        "cmyk.tif": Wild(saved(image.convert("CMYK"), "TIFF"), seen, 2),
        "turned.tif": Wild(saved(image.transpose(Image.Transpose.ROTATE_90), "TIFF", exif=exif(6)), seen),
    }


def others() -> dict[str, Wild]:
    """BMP, and AVIF where Pillow has it."""
    image = drawing()
    seen = np.asarray(image)
    found = {
        "plain.bmp": Wild(saved(image, "BMP"), seen),
        "palette.bmp": Wild(saved(image.convert("P", palette=Image.Palette.ADAPTIVE), "BMP"), seen),
        "a-png-called.jpg": Wild(saved(image, "PNG"), seen),
    }
    if features.check("avif"):
        found["lossy.avif"] = Wild(saved(image, "AVIF", quality=95, subsampling="4:4:4"), seen, 4)
    return found


def no_exif() -> PngImagePlugin.PngInfo:
    """What other programs write EXIF into, with something else in it."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", "\nexif\n       4\nnothing at all")
    return info


def on_white(grey: Image.Image, holes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The grey drawing with the holes of the coloured one."""
    seen = np.repeat(np.asarray(grey)[..., None], 3, axis=2)
    return np.where((holes == 255).all(axis=2, keepdims=True), 255, seen).astype(np.uint8)


def alphas(palette: Image.Image, corner: int) -> bytes:
    """An alpha for each colour of the palette; only `corner` is transparent."""
    return bytes(0 if colour == corner else 255 for colour in range(len(palette.getcolors())))


def png(
    values: NDArray[np.generic],
    bits: int,
    colour: int,
    *,
    interlaced: bool = False,
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> bytes:
    """A PNG that Pillow cannot write: 16 bits a channel, Adam7-interlaced, or of a `size` that is not true."""
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    parts = [values[y::down, x::across] for x, y, across, down in passes]
    rows = b"".join(b"\0" + row.tobytes() for part in parts for row in np.ascontiguousarray(part))
    header = struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, interlaced)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    sealed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(sealed)
