from __future__ import annotations

import numpy as np
import pytest
import torch

from mlkd.views import Views


def gradient_picture(px: int) -> np.ndarray:
    """Red grows to the right, green downwards: a pixel tells where it comes from."""
    ramp = np.linspace(20, 235, px).astype(np.uint8)
    return np.stack(
        [np.broadcast_to(ramp, (px, px)), np.broadcast_to(ramp[:, None], (px, px)), np.zeros((px, px))], -1
    ).astype(np.uint8)


def test_a_view_is_a_function_of_seed_picture_and_view() -> None:
    views, picture = Views(), gradient_picture(32)
    first = views.apply(picture, seed=1, picture=5, view=2)
    torch.manual_seed(99)
    assert torch.equal(first, views.apply(picture, seed=1, picture=5, view=2))
    others = [views.apply(picture, seed=s, picture=p, view=v) for s, p, v in ((2, 5, 2), (1, 6, 2), (1, 5, 3))]
    assert not any(torch.equal(first, other) for other in others)
    assert first.shape == (32, 32, 3)
    assert first.dtype == torch.uint8


def test_no_augmentation_is_the_picture_itself() -> None:
    plain = Views(crop_min=1.0, flip=False, light=0.0)
    picture = gradient_picture(24)
    assert np.array_equal(plain.apply(picture, seed=0, picture=0, view=0).numpy(), picture)


@pytest.mark.parametrize("view", range(6))
def test_a_view_is_the_same_region_at_any_resolution(view: int) -> None:
    """The teacher at 96 pixels and the student at 48 have to see the same thing."""
    views = Views(light=0.0)
    large = views.apply(gradient_picture(96), seed=0, picture=1, view=view).numpy().astype(int)
    small = views.apply(gradient_picture(48), seed=0, picture=1, view=view).numpy().astype(int)
    halved = large.reshape(48, 2, 48, 2, 3).mean((1, 3))
    assert np.abs(halved - small).max() < 6  # crop corners are whole pixels: one of 48 is 4.6 levels


def test_crop_flip_light_and_cutout_do_what_they_say() -> None:
    picture = gradient_picture(40)
    cropped = [
        Views(crop_min=0.5, flip=False, light=0).apply(picture, seed=0, picture=i, view=0).numpy() for i in range(40)
    ]
    spans = [int(v[20, -1, 0]) - int(v[20, 0, 0]) for v in cropped]
    assert 100 <= min(spans) < 150  # half of 215 levels, and no less
    flipped = [Views(crop_min=1, light=0).apply(picture, seed=0, picture=i, view=0)[20, 0, 0].item() for i in range(40)]
    assert 10 <= sum(value > 200 for value in flipped) <= 30
    bright = [
        Views(crop_min=1, flip=False, light=0.3).apply(picture, seed=0, picture=i, view=0).float().mean().item()
        for i in range(40)
    ]
    assert min(bright) < picture.mean() * 0.9
    assert max(bright) > picture.mean() * 1.1
    cut = [
        Views(crop_min=1, flip=False, light=0, cutout_max=0.5).apply(picture, seed=0, picture=i, view=0)
        for i in range(20)
    ]
    grey = [(v == 127).all(-1).float().mean().item() for v in cut]
    assert 0.1 < max(grey) <= 0.26


@pytest.mark.parametrize(
    ("field", "value"), [("count", 0), ("crop_min", 0.0), ("crop_min", 1.5), ("light", 2.0), ("cutout_max", 0.9)]
)
def test_ranges_are_checked(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{field}.*expected|expected {field}|expected crop_min"):
        Views(**{field: value})
