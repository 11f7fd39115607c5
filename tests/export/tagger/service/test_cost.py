"""Images that would take too much memory or time are refused before they are decoded."""

import io
from typing import Any

import pytest
from PIL import Image

from export.tagger.service.cost import MOST_SCANS, check_cost, scans
from mlkd.core.images import UnreadableImageError, load


def saved(kind: str = "JPEG", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.effect_noise((64, 48), 60).convert("RGB").save(stream, kind, **options)
    return stream.getvalue()


def repeated(jpeg: bytes, times: int) -> bytes:
    """A valid JPEG whose last scan comes again and again."""
    last = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    return jpeg[:-2] + last * times + jpeg[-2:]


def test_scans_are_counted_up_to_the_end_without_those_of_the_metadata() -> None:
    exif = Image.Exif()
    exif[0x9286] = b"\xff\xda" * 200  # a comment of the user
    assert scans(saved(exif=exif)) == scans(saved()) == 1
    assert scans(saved() + b"\xff\xda\0\2" * 200) == 1
    progressive = saved(progressive=True)
    assert 5 < scans(progressive) < 20
    assert scans(repeated(progressive, 30)) == scans(progressive) + 30
    assert scans(progressive[:700]) >= 1
    assert scans(b"\xff\xd8") == scans(b"\xff\xd8\xff\xda") - 1 == 0


def test_a_jpeg_with_many_scans_is_refused_though_it_could_be_read() -> None:
    hostile = repeated(saved(progressive=True), MOST_SCANS)
    assert load(hostile, 16).shape == (16, 16, 3)
    with pytest.raises(UnreadableImageError, match="expected at most 64 scans in a JPEG, got 7"):
        check_cost(hostile, 10_000)
    check_cost(saved(progressive=True), 10_000)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_an_image_may_have_as_many_pixels_as_allowed(kind: str) -> None:
    check_cost(saved(kind), 64 * 48)
    with pytest.raises(UnreadableImageError, match="expected at most 3071 pixels, got 3072"):
        check_cost(saved(kind), 64 * 48 - 1)
