"""RKD in chunks: the same value and gradient, little memory, and images that coincide."""

import pytest
import torch

from mlkd.losses import rkd as module
from mlkd.losses.rkd import rkd
from tests.helpers import reference


def features(images: int, length: int, seed: int) -> torch.Tensor:
    return torch.randn(images, length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    s, t = features(11, 5, 0).requires_grad_(), features(11, 7, 1)
    whole = rkd(s, t)
    (expected,) = torch.autograd.grad(whole, s)
    for vertices in (1, 4):
        monkeypatch.setattr(module, "_CELLS", vertices * 11**2)
        chunked = rkd(s, t)
        torch.testing.assert_close(chunked, whole)
        torch.testing.assert_close(torch.autograd.grad(chunked, s)[0], expected)


def test_no_tensor_of_all_triples_is_saved_for_the_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    images = 40
    monkeypatch.setattr(module, "_CELLS", 2 * images**2)
    kept: dict[int, int] = {}

    def note(values: torch.Tensor) -> torch.Tensor:
        kept[values.data_ptr()] = values.numel()
        return values

    with torch.autograd.graph.saved_tensors_hooks(note, lambda values: values):
        rkd(features(images, 5, 0).requires_grad_(), features(images, 7, 1))
    assert images**2 <= sum(kept.values()) < images**3 / 2


@pytest.mark.parametrize("equal", [2, 5, 9])
def test_images_that_coincide_have_no_distance_and_no_angle(equal: int) -> None:
    s, t = features(9, 4, 0), features(9, 6, 1)
    s[:equal] = s[0].clone()
    t[2:4] = t[2].clone()
    s.requires_grad_()
    value = rkd(s, t)
    assert value.item() == pytest.approx(reference.rkd(s.detach().numpy(), t.numpy()), rel=1e-9)
    (gradient,) = torch.autograd.grad(value, s)
    assert gradient.abs().max() < 100


def test_features_far_from_zero_keep_their_angles() -> None:
    near, t = features(9, 4, 0), features(9, 6, 1)
    far = near + 1e6  # keeps about 10 digits of the differences; inner products around 0 would keep 4
    assert rkd(far, t).item() == pytest.approx(rkd(near, t).item(), rel=1e-7)
