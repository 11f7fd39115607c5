import io

import numpy as np
import pytest
from PIL import Image

from mlkd.data.scenes import compose as rules
from mlkd.data.scenes.compose import compose, draw_labels
from mlkd.data.scenes.cutouts import Cutout

PX = 96
GREEN = (0, 200, 0)


def cutout(label: int, colour: tuple[int, int, int] = (255, 0, 0), size: tuple[int, int] = (96, 60)) -> Cutout:
    image = Image.new("RGBA", size, (*colour, 255))
    return Cutout(f"{label}.png", label, f"group {label}", "train", image, image.resize((size[0] // 2, size[1] // 2)))


def pixels(jpeg: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")).astype(int)


@pytest.fixture
def flat() -> list[Image.Image]:
    return [Image.new("RGB", (300, 300), GREEN)]


@pytest.mark.parametrize("seed", range(4))
def test_the_box_is_the_extent_of_the_object(
    seed: int, flat: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "LABELS_PER_SCENE", (1.0,))
    scene = compose({0: [[cutout(0)]]}, [[0]], flat, PX, np.random.default_rng(seed))
    (box,) = scene.boxes
    image = pixels(scene.jpeg)
    red = (image[..., 0] > image[..., 1]) & (image[..., 0] > 90)
    rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
    seen = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    assert np.abs(np.array(seen) - PX * np.array([box.x0, box.y0, box.x1, box.y1])).max() <= 3  # soft corners, and JPEG
    assert box.role == "major"
    assert scene.group == "group 0"


def test_sizes_are_in_their_ranges_and_one_object_is_major(flat: list[Image.Image]) -> None:
    pools = {label: [[cutout(label)]] for label in range(8)}
    for seed in range(30):
        scene = compose(pools, [list(range(8))], flat, PX, np.random.default_rng(seed))
        assert [box.role for box in scene.boxes].count("major") == 1
        assert len({box.label for box in scene.boxes}) == len(scene.boxes)
        for box in scene.boxes:
            inside = min(box.x0, box.y0) > 0 and max(box.x1, box.y1) < 1
            longest = max(box.x1 - box.x0, box.y1 - box.y0)
            low, high = rules.MAJOR_SIDE if box.role == "major" else rules.MINOR_SIDE
            assert longest <= high + 1 / PX
            assert longest >= (low - 1 / PX) * (1 if inside else 0.9)


def test_every_object_stays_visible(flat: list[Image.Image], monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: objects of pure colours without shadow and light; the pixels of each colour are counted."""
    assert rules.LEAST_VISIBLE >= 0.6
    colours = [(255, 0, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255), (0, 255, 255), (255, 255, 255)]
    monkeypatch.setattr(rules, "LABELS_PER_SCENE", (0.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    monkeypatch.setattr(rules, "ROTATION", 0.0)
    drawn = {}
    monkeypatch.setattr(rules, "_photograph", lambda canvas, rng: drawn.update(canvas=canvas.copy()) or b"")
    monkeypatch.setattr(
        rules,
        "_paste",
        lambda canvas, item, px, rng: canvas.paste(item.image.convert("RGB"), (item.left, item.top), item.image),
    )
    pools = {label: [[cutout(label, colour)]] for label, colour in enumerate(colours)}
    for seed in range(20):
        scene = compose(pools, [list(range(6))], flat, PX, np.random.default_rng(seed))
        image = np.asarray(drawn["canvas"]).astype(int)
        for box in scene.boxes:
            own = (np.abs(image - np.array(colours[box.label])).sum(-1) < 60).sum()
            area = (box.x1 - box.x0) * (box.y1 - box.y0) * PX * PX
            assert own >= (rules.LEAST_VISIBLE - 0.06) * area  # a pixel of soft edge on either side


def test_labels_follow_the_histogram_and_the_themes() -> None:
    coco = [0.21, 0.31, 0.21, 0.12, 0.07]  # one to five labels; six and more share 8 %
    np.testing.assert_allclose(rules.LABELS_PER_SCENE[:5], coco)
    rng = np.random.default_rng(0)
    themes = [list(range(0, 10)), list(range(10, 20)), list(range(20, 30))]
    drawn = [draw_labels(themes, rng) for _ in range(5_000)]
    counts = np.bincount([len(labels) for labels in drawn], minlength=9)[1:] / len(drawn)
    np.testing.assert_allclose(counts, rules.LABELS_PER_SCENE, atol=0.026)  # four standard deviations
    pairs = [labels for labels in drawn if len(labels) == 2]
    together = np.mean([a // 10 == b // 10 for a, b in pairs])
    assert abs(together - (0.8**2 + 0.2**2 * 9 / 19)) < 0.05  # both near, or both far and by chance in one theme
    prevalence = np.bincount(np.concatenate(drawn), minlength=30) / len(drawn)
    assert prevalence.min() > 0.075
    assert prevalence.max() < 0.115


def test_few_labels_are_no_error() -> None:
    rng = np.random.default_rng(0)
    assert {frozenset(draw_labels([[0], [1]], rng)) for _ in range(50)} == {
        frozenset({0}),
        frozenset({1}),
        frozenset({0, 1}),
    }
