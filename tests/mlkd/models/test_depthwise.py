"""The own weight gradient of depthwise convolutions equals torch's, and is used where torch's is slow."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mlkd.models import depthwise
from mlkd.models.backbone import create

SIZES = st.tuples(st.integers(1, 6), st.integers(1, 6))


@settings(max_examples=60, deadline=None)
@given(map_px=SIZES, kernel=SIZES, stride=st.tuples(st.integers(1, 3), st.integers(1, 3)), padding=SIZES)
def test_gradients_equal_those_of_torch(map_px, kernel, stride, padding):
    padding = tuple(min(p, k - 1) for p, k in zip(padding, kernel, strict=True))
    if any(m + 2 * p < k for m, p, k in zip(map_px, padding, kernel, strict=True)):
        return
    torch.manual_seed(0)
    plain = nn.Conv2d(3, 3, kernel, stride, padding, groups=3)
    ours = copy.deepcopy(plain)
    depthwise.replace_depthwise(ours)
    images = torch.randn(4, 3, *map_px).contiguous(memory_format=torch.channels_last)
    gradients = []
    for layer in (plain.double(), ours):
        inputs = images.to(layer.weight.dtype).requires_grad_()
        outputs = layer(inputs)
        weights = torch.linspace(-1, 1, outputs.numel(), dtype=outputs.dtype).reshape(outputs.shape)
        gradients.append([outputs, *torch.autograd.grad((outputs * weights).sum(), (inputs, layer.weight, layer.bias))])
    for expected, got in zip(*gradients, strict=True):
        torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("map_px", "trained", "own"), [(2, True, True), (4, True, True), (6, True, False), (2, False, False)]
)
def test_it_is_used_only_where_a_small_map_is_trained(monkeypatch, map_px, trained, own):
    used = []
    compute = depthwise.weight_gradient
    monkeypatch.setattr(depthwise, "weight_gradient", lambda *given: used.append(1) or compute(*given))
    layer = nn.Conv2d(4, 4, 5, padding=2, groups=4, bias=False)
    depthwise.replace_depthwise(layer)
    layer.weight.requires_grad_(trained)
    layer(torch.randn(2, 4, map_px, map_px, requires_grad=True)).sum().backward()
    assert bool(used) is own
    assert (layer.weight.grad is not None) is trained


def test_backbones_have_it_with_the_names_of_their_tensors():
    backbone = create("tf_efficientnet_lite0", 64)
    assert any(isinstance(module, depthwise.DepthwiseConv2d) for module in backbone.modules())
    assert "blocks.5.0.conv_dw.weight" in backbone.state_dict()
