"""Each fault of a device is put in place for real, and has to be found at its step and called by its name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from export.bundle.golden import Golden
from export.tagger.selftest import check_images
from mlkd.core import images
from mlkd.core.images import UnreadableImageError
from tests.helpers import bundles, selftests
from tests.helpers.selftests import engine_findings, states

PX = bundles.PX


Decode = Callable[[Path, int], Image.Image]


def opened(file: Path) -> Image.Image:
    with Image.open(file) as image:
        image.load()
        return image


def at_full_scale(file: Path, image_px: int) -> Image.Image:
    return images.to_rgb(ImageOps.exif_transpose(opened(file)))


def as_stored(file: Path, image_px: int) -> Image.Image:
    with Image.open(file) as image:
        image.draft("RGB", (2 * image_px, 2 * image_px))
        return images.to_rgb(image)


def with_blue_first(file: Path, image_px: int) -> Image.Image:
    return Image.fromarray(np.asarray(decode(file, image_px))[..., ::-1].copy())


def with_coarse_chroma(file: Path, image_px: int) -> Image.Image:
    """A JPEG decoder that repeats chroma instead of interpolating it, as libjpeg does without fancy upsampling."""
    with Image.open(file) as image:
        if image.mode != "RGB":
            return decode(file, image_px)
    planes = np.asarray(decode(file, image_px).convert("YCbCr")).astype(np.float64)
    height, width = planes.shape[:2]
    coarse = planes.reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3)).repeat(2, 0).repeat(2, 1)
    planes[..., 1:] = coarse[..., 1:]
    return Image.fromarray(planes.round().astype(np.uint8), "YCbCr").convert("RGB")


def over_black(file: Path, image_px: int) -> Image.Image:
    image = opened(file)
    if image.mode != "RGBA":
        return decode(file, image_px)
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, image).convert("RGB")


def without_inversion(file: Path, image_px: int) -> Image.Image:
    image = opened(file)
    if image.mode != "CMYK":
        return decode(file, image_px)
    return Image.fromarray(255 - np.asarray(image), "CMYK").convert("RGB")


def rounding_up(file: Path, image_px: int) -> Image.Image:
    return decode(file, image_px).point(lambda level: min(255, level + 1))


def without_progressive(file: Path, image_px: int) -> Image.Image:
    if file.name == "2.jpg":
        raise UnreadableImageError("image 2.jpg: expected a whole image, got: progressive JPEG")
    return decode(file, image_px)


decode: Decode = images.decode
SAME = ("same", "")


@pytest.mark.parametrize(
    ("swapped", "expected"),
    [
        (at_full_scale, [("different", "scale of decoding"), SAME, SAME, SAME]),
        (as_stored, [SAME, ("different", "orientation"), SAME, SAME]),
        (with_blue_first, [("different", "channel order")] * 4),
        (with_coarse_chroma, [("different", "JPEG decoder (RGB)")] * 2 + [SAME, SAME]),
        (over_black, [SAME, SAME, ("different", "PNG decoder (RGBA)"), SAME]),
        (without_inversion, [SAME, SAME, SAME, ("different", "JPEG decoder (CMYK)")]),
        (without_progressive, [SAME, ("different", "decoder"), SAME, SAME]),
        (rounding_up, [("close", f"{kind} decoder ({mode})") for kind, mode in selftests.FORMS]),
    ],
)
def test_another_decoder_is_named(
    swapped: Decode,
    expected: list[tuple[str, str]],
    selftested: Path,
    golden: Golden,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(images, "decode", swapped)
    findings = check_images(golden, PX)
    assert states(findings, "decode") == expected
    assert states(findings, "resize") == [SAME] * 4  # its own input is stored
    engine, whole, _ = engine_findings(selftested, golden)
    assert engine.state == "same"
    if swapped in (with_blue_first, over_black, without_inversion, without_progressive):
        assert whole.state == "different"
    if swapped is with_blue_first:
        assert whole.note == "6 of 12 decisions differ"


def test_sizes_of_differences_are_told(golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "decode", rounding_up)
    assert [one.largest for one in check_images(golden, PX) if one.step == "decode"] == [1.0] * 4
    monkeypatch.setattr(images, "decode", at_full_scale)
    assert [one.largest for one in check_images(golden, PX) if one.step == "decode"] == [None, 0.0, 0.0, 0.0]
    monkeypatch.setattr(images, "decode", without_progressive)
    assert "got: progressive JPEG" in check_images(golden, PX)[2].note


def by(kernel: Image.Resampling) -> Callable[[Image.Image, int], NDArray[np.uint8]]:
    return lambda image, image_px: np.array(image.resize((image_px, image_px), kernel))


def swapping(image: Image.Image, image_px: int) -> NDArray[np.uint8]:
    return by(Image.Resampling.BILINEAR)(image, image_px)[..., ::-1]


def without_antialiasing(image: Image.Image, image_px: int) -> NDArray[np.uint8]:
    """Bilinear between the four nearest pixels, as OpenCV and torch do by default; by numpy."""
    values = np.asarray(image).astype(np.float64)
    for axis in (0, 1):
        size = values.shape[axis]
        at = np.clip((np.arange(image_px) + 0.5) * size / image_px - 0.5, 0, size - 1)
        low = np.floor(at).astype(int)
        share = (at - low).reshape([-1 if one == axis else 1 for one in range(3)])
        values = values.take(low, axis) * (1 - share) + values.take(np.minimum(low + 1, size - 1), axis) * share
    return values.round().astype(np.uint8)


def rounded_up(image: Image.Image, image_px: int) -> NDArray[np.uint8]:
    right = by(Image.Resampling.BILINEAR)(image, image_px)
    return right + (right < 255)


@pytest.mark.parametrize(
    ("swapped", "expected"),
    [
        (by(Image.Resampling.BOX), ("different", "resize kernel (that of BOX, not BILINEAR)")),
        (by(Image.Resampling.NEAREST), ("different", "resize kernel (that of NEAREST, not BILINEAR)")),
        (without_antialiasing, ("different", "resize kernel")),
        (swapping, ("different", "channel order")),
        (rounded_up, ("close", "resize kernel")),
    ],
)
def test_another_resize_is_named(
    swapped: Callable[[Image.Image, int], NDArray[np.uint8]],
    expected: tuple[str, str],
    golden: Golden,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(images, "resize", swapped)
    findings = check_images(golden, PX)
    assert states(findings, "decode") == [SAME] * 4
    assert states(findings, "resize") == [expected] * 4


def test_a_decoders_rounding_may_move_scores_further_than_an_engine_may(
    selftested: Path, golden: Golden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "decode", rounding_up)
    whole = engine_findings(selftested, golden)[1]
    assert whole.state == "close"
    assert whole.largest is not None
    assert 1e-3 < whole.largest < 0.15


def test_every_fault_can_show_in_the_golden_images(golden: Golden) -> None:
    """Or the tests above would pass on images that hide it."""
    for decoded in golden.decoded:
        assert decoded.shape[0] != decoded.shape[1]
        assert decoded.std((0, 1)).min() > 5
