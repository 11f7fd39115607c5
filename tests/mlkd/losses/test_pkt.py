"""PKT with features of 0, and its independence of length."""

from __future__ import annotations

import pytest
import torch

from mlkd.losses.pkt import pkt
from tests.helpers import reference


def test_features_of_zero_are_finite() -> None:
    s, t = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    s[2] = 0.0
    s.requires_grad_()
    value = pkt(s, t)
    assert value.item() == pytest.approx(reference.pkt(s.detach().numpy(), t.numpy()), rel=1e-9)
    (gradient,) = torch.autograd.grad(value, s)
    assert torch.isfinite(gradient).all()


def test_the_length_of_features_does_not_matter() -> None:
    s, t = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    longer = s * torch.linspace(10, 20, 6, dtype=torch.float64)[:, None]
    torch.testing.assert_close(pkt(longer, t), pkt(s, t), rtol=1e-4, atol=0)  # the published 1e-7 in the norm
