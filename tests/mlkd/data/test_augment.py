from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional

from mlkd.data.augment import Views

PUBLISHED: dict[str, Any] = {"crop_min": 1.0, "flip": False, "light": 0.0, "cutout": 0.5, "rand_augment": 2}
PLAIN: dict[str, Any] = {"crop_min": 1.0, "flip": False, "light": 0.0}


def gradient_image(px: int) -> np.ndarray:
    """Red grows to the right, green downwards: a pixel shows its position."""
    ramp = np.linspace(20, 235, px).astype(np.uint8)
    return np.stack(
        [np.broadcast_to(ramp, (px, px)), np.broadcast_to(ramp[:, None], (px, px)), np.zeros((px, px))], -1
    ).astype(np.uint8)


@pytest.mark.parametrize("views", [Views(), Views(**PUBLISHED), Views(crop="area", crop_min=0.3, rand_augment=2)])
def test_a_view_depends_only_on_seed_row_and_view(views: Views) -> None:
    sample = gradient_image(32)
    first = views.apply(sample, seed=1, row=5, view=2)
    torch.manual_seed(99)
    assert torch.equal(first, views.apply(sample, seed=1, row=5, view=2))
    others = [views.apply(sample, seed=s, row=p, view=v) for s, p, v in ((2, 5, 2), (1, 6, 2), (1, 5, 3))]
    assert not any(torch.equal(first, other) for other in others)
    assert first.shape == (32, 32, 3)
    assert first.dtype == torch.uint8


def test_no_augmentation_is_the_image_itself() -> None:
    sample = gradient_image(24)
    for off in (PLAIN, {**PLAIN, "crop": "area"}, {**PLAIN, "magnitude": 30}):
        assert np.array_equal(Views(**off).apply(sample, seed=0, row=0, view=0).numpy(), sample)


@pytest.mark.parametrize("settings", [{}, {"crop_min": 0.6, "light": 0.3, "cutout_max": 0.3}])
def test_the_first_ten_draws_decide_crop_flip_light_and_cutout(settings: dict[str, Any]) -> None:
    """Stored teacher outputs belong to exactly these pixels: no other draw may come before or between."""
    views, pixels = Views(**settings), np.random.default_rng(0).integers(0, 256, (37, 37, 3)).astype(np.uint8)
    for sample in range(12):
        u = np.random.default_rng([6, sample, 1]).random(10)
        h, w = (round(37 * (views.crop_min + (1 - views.crop_min) * share)) for share in u[:2])
        image = torch.from_numpy(pixels).permute(2, 0, 1)
        top, left = round(u[2] * (37 - h)), round(u[3] * (37 - w))
        image = functional.resize(image[:, top : top + h, left : left + w], [37, 37], antialias=True)
        image = image.flip(2) if u[4] < 0.5 else image
        image = functional.adjust_brightness(image, 1 + views.light * (2 * u[5] - 1))
        image = functional.adjust_contrast(image, 1 + views.light * (2 * u[6] - 1)).permute(1, 2, 0).clone()
        side = round(37 * views.cutout_max * u[7])
        top, left = round(u[8] * (37 - side)), round(u[9] * (37 - side))
        image[top : top + side, left : left + side] = 127
        assert torch.equal(views.apply(pixels, seed=6, row=sample, view=1), image)


@pytest.mark.parametrize("view", range(6))
@pytest.mark.parametrize("crop", [{}, {"crop": "area", "crop_min": 0.4}])
def test_a_view_shows_the_same_region_at_any_resolution(crop: dict[str, Any], view: int) -> None:
    """The teacher at 96 pixels and the student at 48 have to see the same region."""
    views = Views(light=0.0, **crop)
    large = views.apply(gradient_image(96), seed=0, row=1, view=view).numpy().astype(int)
    small = views.apply(gradient_image(48), seed=0, row=1, view=view).numpy().astype(int)
    halved = large.reshape(48, 2, 48, 2, 3).mean((1, 3))
    assert np.abs(halved - small).max() < 6  # crop corners are whole pixels: one of 48 is 4.6 levels


def test_all_augmentations_together_agree_between_resolutions() -> None:
    """Edges and thresholds shift by a pixel: few pixels differ, and every other view differs more."""
    rows = np.random.default_rng(0).integers(0, 256, (6, 6, 3)).astype(np.uint8)
    smooth = [np.asarray(Image.fromarray(rows).resize((px, px), Image.Resampling.BICUBIC)) for px in (96, 64)]
    views = Views(crop="area", crop_min=0.4, cutout=0.5, rand_augment=2, magnitude=15)
    large, small = (
        np.stack([views.apply(pixels, seed=0, row=i, view=0).numpy() for i in range(24)]) for pixels in smooth
    )
    halved = np.stack([np.asarray(Image.fromarray(v).resize((64, 64), Image.Resampling.BOX)) for v in large])
    apart = np.abs(halved[:, None].astype(int) - small[None].astype(int)).mean((2, 3, 4))
    assert np.median(np.diag(apart)) < 4
    assert np.diag(apart).max() < 12
    assert (apart.argmin(0) == np.arange(24)).all()


def test_a_crop_by_area_keeps_area_and_aspect() -> None:
    """The span of the gradients is the visible fraction of each side."""
    views = Views(crop="area", crop_min=0.25, flip=False, light=0.0)
    shown = [views.apply(gradient_image(80), seed=0, row=i, view=0).numpy().astype(float) for i in range(200)]
    wide = np.array([v[40, -1, 0] - v[40, 0, 0] for v in shown]) / 215
    high = np.array([v[-1, 40, 1] - v[0, 40, 1] for v in shown]) / 215
    assert 0.22 < (wide * high).min() < 0.35
    assert (wide * high).max() > 0.9
    aspect = wide / high
    assert 0.72 < aspect.min() < 0.8  # 3 to 4, but for whole pixels
    assert 1.25 < aspect.max() < 1.4
    assert abs(np.log(aspect).mean()) < 0.03


def test_the_published_cutout_has_one_size_and_may_lie_over_the_edge() -> None:
    sample = np.random.default_rng(1).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    boxes, colours = [], set()
    for i in range(100):
        view = Views(**PLAIN, cutout=0.5).apply(sample, seed=0, row=i, view=0).numpy()
        rows, columns = ((view != sample).any(-1).any(axis) for axis in (1, 0))
        top, bottom, left, right = (*np.flatnonzero(rows)[[0, -1]], *np.flatnonzero(columns)[[0, -1]])
        inside = view[top : bottom + 1, left : right + 1].reshape(-1, 3)
        assert (inside == inside[0]).all()
        colours.add(tuple(inside[0]))
        boxes.append((bottom + 1 - top, right + 1 - left))
        assert (bottom + 1 - top == 20) or top == 0 or bottom == 39  # shorter only where the edge cuts it
    heights, widths = np.array(boxes).T
    assert heights.max() == widths.max() == 20
    assert 10 <= heights.min() < 15
    shares = heights * widths / 1600
    assert abs(shares.mean() - 0.4375**2) < 0.02  # a middle anywhere loses an eighth of each side on average
    assert len(colours) > 90


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("count", 0), ("crop_min", 0.0), ("crop_min", 1.5), ("light", 2.0), ("cutout_max", 0.9), ("cutout", 0.9),
        ("rand_augment", -1), ("magnitude", 31),
    ],
)  # fmt: skip
def test_ranges_are_checked(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"views\.{field}: expected .*, got {value}"):
        Views(**{field: value})
    assert Views(crop="area", crop_min=0.08).crop_min == 0.08  # an area may be smaller: torchvision's own default
