import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from mlkd.data.augment import MAGNITUDES
from mlkd.data.rand_augment import FILL, rand_augment

PX = 96  # where torchvision, which truncates translations, gets the same whole pixels


def sample(seed: int = 3) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(20, 231, (3, PX, PX)).astype(np.uint8))


def ours(image: torch.Tensor, operations: int, magnitude: int, seed: int) -> torch.Tensor:
    return rand_augment(image, operations, magnitude / (MAGNITUDES - 1), np.random.default_rng(seed))


@pytest.mark.parametrize("magnitude", [9, 29])
def test_the_operations_are_those_of_torchvision(magnitude: int) -> None:
    """Many draws of one operation give the same set of images as torchvision, but for rounding."""
    image = sample()
    theirs = v2.RandAugment(1, magnitude, interpolation=v2.InterpolationMode.BILINEAR, fill=FILL)
    torch.manual_seed(0)
    expected = distinct([theirs(image) for _ in range(250)])
    actual = distinct([ours(image, 1, magnitude, seed) for seed in range(250)])
    apart = np.array([[far(a, b) for b in expected] for a in actual])
    assert len(actual) == len(expected) == 23  # nine operations in two directions, and five that have none
    assert apart.min(0).max() < 0.02
    assert apart.min(1).max() < 0.02


def distinct(images: list[torch.Tensor]) -> list[np.ndarray]:
    return list({image.numpy().tobytes(): image.numpy().astype(int) for image in images}.values())


def far(first: np.ndarray, second: np.ndarray) -> float:
    """Mean difference in levels."""
    return float(np.abs(first - second).mean())


def test_operations_are_applied_in_turn() -> None:
    rng, image = np.random.default_rng(7), sample()
    one_by_one = rand_augment(rand_augment(image, 1, 0.3, rng), 1, 0.3, rng)
    assert torch.equal(ours(image, 2, 9, 7), one_by_one)
    assert torch.equal(ours(image, 0, 9, 7), image)


def test_only_the_given_generator_is_used() -> None:
    image = sample()
    first = ours(image, 3, MAGNITUDES - 1, 5)
    state = torch.random.get_rng_state()
    torch.manual_seed(99)
    assert torch.equal(first, ours(image, 3, MAGNITUDES - 1, 5))
    torch.random.set_rng_state(state)
    ours(image, 3, 9, 1)
    assert torch.equal(state, torch.random.get_rng_state())  # and it leaves torch's own alone
