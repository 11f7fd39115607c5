"""The calibration set: every label, always the same images."""

import numpy as np
import pytest

from export.precision.calibration import choose, refuse_held_out


def rare(count: int = 400, labels: int = 12) -> tuple[np.ndarray, list[str]]:
    """Targets in which label l is about half as frequent as label l - 1; the last is on one image."""
    random = np.random.default_rng(0)
    targets = (random.random((count, labels)) < 0.5 ** np.arange(1, labels + 1)).astype(np.uint8)
    targets[:, -1] = 0
    targets[137, -1] = 1
    return targets, [f"hash {index}" for index in range(count)]


@pytest.mark.parametrize("seed", range(5))
def test_covers_every_label_there_is(seed: int) -> None:
    targets, hashes = rare()
    targets[:, 3] = 0  # no image has it: nothing to cover
    chosen = choose(targets, hashes, 20, seed)
    assert len(chosen) == len(set(chosen.tolist())) == 20
    assert (targets[chosen].any(axis=0) == targets.any(axis=0)).all()


def test_depends_on_seed_and_hashes_not_on_order() -> None:
    targets, hashes = rare()
    chosen = choose(targets, hashes, 30, 1)
    order = np.random.default_rng(1).permutation(len(hashes))
    again = choose(targets[order], [hashes[index] for index in order], 30, 1)
    assert {hashes[index] for index in chosen} == {hashes[order[index]] for index in again}
    assert chosen.tolist() == sorted(chosen.tolist())
    assert set(choose(targets, hashes, 30, 2).tolist()) != set(chosen.tolist())


def test_fewer_images_than_asked_for() -> None:
    assert choose(np.eye(3, dtype=np.uint8), ["a", "b", "c"], 300, 0).tolist() == [0, 1, 2]


def test_too_few_to_cover() -> None:
    with pytest.raises(
        ValueError, match=r"export.calibration_images: expected at least 3, so that every label is in one, got 2"
    ):
        choose(np.eye(3, dtype=np.uint8), ["a", "b", "c"], 2, 0)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="expected a hash for each of 3 images, got 1"):
        choose(np.eye(3, dtype=np.uint8), ["a"], 3, 0)
    with pytest.raises(ValueError, match="expected at least 1, got 0"):
        choose(np.eye(3, dtype=np.uint8), ["a", "b", "c"], 0, 0)


def test_an_image_of_another_split_is_refused() -> None:
    chosen = {"a.jpg": "1", "b.jpg": "2"}
    refuse_held_out(chosen, {"select": ["3"], "test": []})
    with pytest.raises(ValueError, match=r"images of train alone, got 1 that are in tune as well: b.jpg; take"):
        refuse_held_out(chosen, {"select": ["3"], "tune": ["2", "4"]})
