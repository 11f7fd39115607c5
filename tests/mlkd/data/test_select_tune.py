import numpy as np
import pytest

from mlkd.data.select_tune import select_and_tune


def test_halves_cover_and_share_every_label() -> None:
    rng = np.random.default_rng(0)
    targets = (rng.random((200, 12)) < np.linspace(0.02, 0.5, 12)).astype(np.uint8)
    targets[:2, 0] = 1
    chosen = select_and_tune(targets, [f"{number:03d}" for number in range(200)])
    assert 85 <= chosen.sum() <= 115
    positives = targets[chosen].sum(0), targets[~chosen].sum(0)
    assert (positives[0] > 0).all()
    assert (positives[1] > 0).all()
    rare = targets.sum(0).argmin()
    assert abs(int(positives[0][rare]) - int(positives[1][rare])) <= 1


def test_the_order_of_the_images_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    targets = (rng.random((50, 5)) < 0.3).astype(np.uint8)
    hashes = np.array([f"{number:02d}" for number in range(50)])
    order = rng.permutation(50)
    np.testing.assert_array_equal(
        select_and_tune(targets, list(hashes))[order], select_and_tune(targets[order], list(hashes[order]))
    )


def test_equal_contents_stay_together() -> None:
    targets = np.ones((8, 1), dtype=np.uint8)
    chosen = select_and_tune(targets, ["a", "b", "a", "c", "b", "d", "a", "d"])
    assert chosen[0] == chosen[2] == chosen[6]
    assert chosen[1] == chosen[4]
    assert chosen[5] == chosen[7]


def test_one_image_cannot_be_cut() -> None:
    with pytest.raises(ValueError, match="val: expected at least 2 different images to cut in two, got 1"):
        select_and_tune(np.ones((2, 1), dtype=np.uint8), ["a", "a"])
