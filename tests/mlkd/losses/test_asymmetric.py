"""The asymmetric loss's gradient: that of the cross-entropy, times focal weights that are constants."""

import pytest
import torch

from mlkd.losses import Asymmetric
from mlkd.losses.asymmetric import asymmetric

LOGITS = torch.tensor([[-6.0, -3.0, -2.9, -1.0, 0.0, 1.0, 4.0, 300.0]], dtype=torch.float64)


@pytest.mark.parametrize("truth", [0.0, 1.0])
def test_gradient_is_that_of_the_cross_entropy_times_the_focal_weight(truth: float) -> None:
    def gradient(gamma_negative: float, gamma_positive: float) -> torch.Tensor:
        z = LOGITS.clone().requires_grad_()
        value = asymmetric(z, torch.full_like(z, truth), gamma_negative=gamma_negative, gamma_positive=gamma_positive)
        return torch.autograd.grad(value, z)[0]

    p = LOGITS.sigmoid()
    weight = (1 - p) ** 1.5 if truth else (p - 0.05).clamp(min=0) ** 2
    torch.testing.assert_close(gradient(2.0, 1.5), gradient(0.0, 0.0) * weight, rtol=1e-9, atol=1e-12)


def test_clip_is_below_1() -> None:
    with pytest.raises(ValueError, match=r"loss asymmetric: clip: expected at least 0 and below 1, got 1.0"):
        Asymmetric(clip=1.0)
