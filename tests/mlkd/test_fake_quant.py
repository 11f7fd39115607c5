"""Rounding and its gradients, against loops over single numbers and differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from mlkd import fake_quant
from mlkd.fake_quant import Rounded


def rounded_one_by_one(values: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """What ONNX's QuantizeLinear and DequantizeLinear make of signed values with a zero point of 0."""
    return np.array([min(127, max(-128, round(value / step))) * step for value in values.ravel()]).reshape(values.shape)


@pytest.fixture(scope="module")
def values() -> NDArray[np.float64]:
    return np.random.default_rng(0).normal(size=(4, 3, 5)) * 2


def test_activations_are_multiples_of_the_step(values: NDArray[np.float64]) -> None:
    values[0, 0] = [0.5 * 0.02, 1.5 * 0.02, -2.5 * 0.02, 9.0, -9.0]  # halves, and both ends
    found = fake_quant.activation(torch.from_numpy(values).float(), torch.tensor(0.02)).numpy()
    np.testing.assert_allclose(found, rounded_one_by_one(values, 0.02), atol=1e-6)
    assert found.min() == pytest.approx(-128 * 0.02)
    assert found.max() == pytest.approx(127 * 0.02)


def test_gradient_of_activations_passes_where_nothing_saturates() -> None:
    values = torch.tensor([[0.3, -0.4, 1.26, 1.28, -1.27, -1.29]], requires_grad=True)
    fake_quant.activation(values, torch.tensor(0.01)).backward(torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]))
    assert values.grad is not None
    assert values.grad.tolist() == [[1.0, 2.0, 3.0, 0.0, 5.0, 0.0]]


def test_gradient_of_the_step(values: NDArray[np.float64]) -> None:
    """Esser et al. 2020, eq. 3, number by number."""
    step, expected = torch.tensor(0.011, requires_grad=True), 0.0
    gradient = np.random.default_rng(1).normal(size=(4, 3, 5))
    fake_quant.activation(torch.from_numpy(values).float(), step).backward(torch.from_numpy(gradient).float())
    for value, weight in zip((values / 0.011).ravel(), gradient.ravel(), strict=True):
        one = -128 if value < -128 else 127 if value > 127 else round(value) - value
        expected += weight * one
    assert step.grad is not None
    assert step.grad.item() == pytest.approx(expected / math.sqrt(127 * 15), rel=1e-4)


def test_gradient_of_the_step_is_a_difference_where_no_number_changes_its_integer() -> None:
    values = torch.tensor([[0.30, -0.42, 5.0, -7.0]], dtype=torch.float64)
    step = torch.tensor(0.0101, dtype=torch.float64, requires_grad=True)
    fake_quant.activation(values, step).sum().backward()
    low, high = (rounded_one_by_one(values.numpy(), 0.0101 + change).sum() for change in (-1e-7, 1e-7))
    # The estimator adds how far the value lies from its integer, which the difference cannot see.
    apart = sum(one / 0.0101 for one in (0.30, -0.42))
    assert step.grad is not None
    assert step.grad.item() * math.sqrt(127 * 4) == pytest.approx((high - low) / 2e-7 - apart, rel=1e-4)


def fake_quant_error(values: torch.Tensor, high: torch.Tensor) -> float:
    return (fake_quant.activation(values, high / 127) - values).square().mean().item()


def test_a_range_is_learned_until_it_fits() -> None:
    values = torch.randn(64, 100, generator=torch.Generator().manual_seed(0))
    log_high = nn.Parameter(torch.tensor(math.log(100.0)))
    adam = torch.optim.Adam([log_high], lr=0.1, betas=(0.9, 0.9))
    errors = []
    for _ in range(60):
        adam.zero_grad()
        error = (fake_quant.learned(values, log_high) - values).square().mean()
        error.backward()
        adam.step()
        errors.append(error.item())
    best = min(torch.linspace(1, 20, 100), key=lambda high: fake_quant_error(values, high))
    assert errors[-1] < min(errors[0] / 50, 3 * fake_quant_error(values, best))


@pytest.mark.parametrize("axis", [0, -1])
def test_weights_have_a_step_a_channel(values: NDArray[np.float64], axis: int) -> None:
    weights = torch.from_numpy(values).float()
    found = fake_quant.weight(weights, axis).movedim(axis, 0).numpy()
    for channel, got in zip(np.moveaxis(values, axis, 0), found, strict=True):
        step = np.abs(channel).max() / 127
        np.testing.assert_allclose(got, rounded_one_by_one(channel, step), atol=1e-5)


def test_weights_of_a_dead_channel_stay_zero_and_gradients_pass() -> None:
    weights = torch.tensor([[0.0, 0.0], [0.3, -0.1]], requires_grad=True)
    found = fake_quant.weight(weights)
    found.backward(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert found[0].tolist() == [0.0, 0.0]
    assert weights.grad is not None
    assert weights.grad.tolist() == [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize("biased", [False, True])
def test_a_folded_batch_norm_computes_the_same(biased: bool) -> None:
    torch.manual_seed(0)
    convolution, norm = nn.Conv2d(3, 4, 3, bias=biased), nn.BatchNorm2d(4).eval()
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        assert tensor is not None
        nn.init.uniform_(tensor, 0.5, 2)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight, bias = fake_quant.folded(
        convolution.weight, convolution.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.eps
    )
    images = torch.randn(2, 3, 6, 6)
    torch.testing.assert_close(nn.functional.conv2d(images, weight, bias), norm(convolution(images)))


def test_ranges_are_symmetric() -> None:
    for low, high in ((-1.0, 2.0), (0.0, 0.0), (-math.inf, math.inf)):
        with pytest.raises(ValueError, match=r"relu: expected a range -h\.\.h"):
            Rounded(tensor="relu", low=low, high=high)


@pytest.mark.parametrize("tensor", ["relu_1", "training", "tagger.backbone.x", "a/b"])
def test_any_tensor_can_name_a_parameter(tensor: str) -> None:
    nn.Module().register_parameter(fake_quant.parameter_name(tensor), nn.Parameter(torch.zeros(())))
    assert fake_quant.tensor_name(fake_quant.parameter_name(tensor)) == tensor
