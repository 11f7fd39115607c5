import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from export.bundle.golden import choose_golden, write_golden
from mlkd.core.images import UnreadableImageError, decode, load

PX = 16


def halves(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean of the left and the right half of every image, in 0..1."""
    means = [pixels[:, :, part].mean((1, 2, 3)) / 255 for part in (slice(PX // 2), slice(PX // 2, None))]
    return np.stack(means, axis=1).astype(np.float32)


PRINTED: dict[str, Any] = {"labels": ("x", "y"), "thresholds": {"a": (0.5, 0.25), "b": (0.5, 0.5)}}


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Four drawings of different shapes, with metadata."""
    rng = np.random.default_rng(0)
    files = []
    exif = Image.Exif()
    exif[0x010F] = "Camera of a person"
    for number, size in enumerate([(60, 40), (40, 60), (200, 150), (33, 33)]):
        files.append(tmp_path / f"{number}{'.png' if number == 2 else '.jpg'}")
        drawing = rng.integers(0, 255, (3, 4, 3), dtype=np.uint8)
        options = {"exif": exif, "dpi": (300, 300), "icc_profile": b"of a person", "comment": b"by a person"}
        Image.fromarray(drawing).resize(size).save(files[-1], **options)
    return files


def test_few_images_cover_the_most_labels_at_high_scores(files: list[Path]) -> None:
    scores = np.array([[0.9, 0.8, 0.0, 0.0], [0.9, 0.9, 0.1, 0.0], [0.0, 0.0, 0.7, 0.1], [0.1, 0.1, 0.6, 0.6]], "f4")
    assert choose_golden(files, scores, 1) == [1]  # 1.9 in all
    assert choose_golden(files, scores, 2) == [1, 3]  # 0.5 + 0.6 more, against 0.6 + 0.1
    assert choose_golden(files, scores, 3) == [1, 3, 2]
    assert sorted(choose_golden(files, scores, 9)) == [0, 1, 2, 3]


def test_an_unreadable_image_is_never_chosen(files: list[Path]) -> None:
    scores = np.array([[0.9, 0.9], [0.5, 0.1], [0.2, 0.3], [0.1, 0.1]], np.float32)
    assert choose_golden(files, scores, 2)[0] == 0
    files[0].write_text("no image")
    assert choose_golden(files, scores, 2) == [1, 2]
    assert choose_golden([files[0]], scores[:1], 2) == []


def test_images_come_in_the_forms_that_decoders_differ_in(files: list[Path], tmp_path: Path) -> None:
    written, _ = write_golden(files, PX, tmp_path / "golden", {}, **PRINTED)
    assert [file.name for file in written] == ["1.jpg", "2.jpg", "3.png", "4.jpg"]
    opened = [Image.open(io.BytesIO(file.read_bytes())) for file in written]
    assert [image.mode for image in opened] == ["RGB", "RGB", "RGBA", "CMYK"]
    assert [bool(image.info.get("progressive")) for image in opened] == [False, True, False, False]
    assert [image.getexif().get(0x0112) for image in opened] == [None, 6, None, None]
    assert [dict(image.getexif()).keys() - {0x0112} for image in opened] == [set()] * 4
    assert not {"comment", "icc_profile"} & {key for image in opened for key in image.info}
    assert "adobe" in opened[3].info
    assert len(np.unique(np.asarray(opened[2].getchannel("A")))) > 4
    assert opened[0].size == (80, 64)
    assert decode(written[0], PX).size == (40, 32)  # at half its scale
    assert opened[0].layer[0][1:3] == (2, 2)  # chroma at half the size: 4:2:0
    for image in opened:
        assert max(image.size) <= 5 * PX


def test_content_stays_what_it_was(files: list[Path], tmp_path: Path) -> None:
    written, _ = write_golden(files, PX, tmp_path / "golden", {}, **PRINTED)
    for file, golden in zip(files, written, strict=True):
        difference = np.abs(load(file, PX).astype(int) - load(golden, PX))
        fades = golden.suffix == ".png"
        assert difference[PX // 2 :].mean() < 16  # the lower half, which fades in none
        assert (difference[:2].mean() > 40) == fades


def test_expected_holds_each_step_by_itself(files: list[Path], tmp_path: Path) -> None:
    batches = []

    def scored(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        batches.append(len(pixels))
        return halves(pixels)

    written, expected = write_golden(
        files, PX, tmp_path / "golden", {"a": scored, "b": lambda x: halves(x) / 2}, **PRINTED
    )
    assert batches == [1, 1, 1, 1]
    with np.load(expected, allow_pickle=False) as arrays:
        assert len(arrays.files) == 2 * 4 + 2 + 3
        assert arrays["labels"].tolist() == ["x", "y"]
        assert [arrays[f"thresholds:{name}"].tolist() for name in "ab"] == [[0.5, 0.25], [0.5, 0.5]]
        for i, file in enumerate(written):
            np.testing.assert_array_equal(arrays[f"decoded_{i}"], np.asarray(decode(file, PX)))
            np.testing.assert_array_equal(arrays[f"pixels_{i}"], load(file, PX))
        pixels = np.stack([load(file, PX) for file in written])
        assert arrays["scores:a"].dtype == np.float32
        np.testing.assert_array_equal(arrays["scores:a"], halves(pixels))
        np.testing.assert_array_equal(arrays["scores:b"], halves(pixels) / 2)


def test_equal_images_give_equal_bytes(files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, expected = write_golden(files, PX, tmp_path / "first", {"a": halves}, **PRINTED)
    monkeypatch.setattr("time.localtime", lambda *_: (2030, 1, 2, 3, 4, 5, 0, 0, 0))
    second, again = write_golden(files, PX, tmp_path / "second", {"a": halves}, **PRINTED)
    assert [file.read_bytes() for file in (*first, expected)] == [file.read_bytes() for file in (*second, again)]


def test_unreadable_images_are_left_out(files: list[Path], tmp_path: Path) -> None:
    files[1].unlink()
    written, expected = write_golden(files[:3], PX, tmp_path / "golden", {"a": halves}, **PRINTED)
    assert [file.name for file in written] == ["1.jpg", "2.jpg"]
    with np.load(expected) as arrays:
        assert arrays["scores:a"].shape == (2, 2)
    with pytest.raises(UnreadableImageError, match="golden images: expected a readable image, got none in 1 files"):
        write_golden(files[1:2], PX, tmp_path / "none", {"a": halves}, **PRINTED)


def test_more_images_than_forms(files: list[Path], tmp_path: Path) -> None:
    written, _ = write_golden([*files, files[0], files[1]], PX, tmp_path / "golden", {}, **PRINTED)
    assert [file.name for file in written][4:] == ["5.jpg", "6.jpg"]
    assert load(written[4], PX).shape == (PX, PX, 3)
