"""Folded batch norms: the same logits, fewer modules; a net that cannot be folded is left as it is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mlkd.models.config import Model
from mlkd.models.folded import fold_batch_norms
from mlkd.models.heads import Pooled
from mlkd.models.network import TaggerNet


def build(backbone: str) -> TaggerNet:
    torch.manual_seed(0)
    net = Model(backbone=backbone, image_px=32, head=Pooled()).build(3)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after training
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return net


def norms(net: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in net.modules())


def images() -> Tensor:
    return torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_resnet"])
def test_logits_are_equal_and_norms_are_gone(backbone: str) -> None:
    net = build(backbone).train()
    folded = fold_batch_norms(net)
    assert norms(net) > norms(folded) == 0
    assert net.training
    assert not folded.training
    torch.testing.assert_close(folded(images()).logits, net.eval()(images()).logits, rtol=1e-4, atol=1e-4)
    assert folded.backbone.get_submodule("conv_stem" if "eff" in backbone else "conv1") is not None


class Shared(nn.Module):
    """A convolution whose result is read by its batch norm, and before it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.bn.running_mean.fill_(1.0)

    def forward(self, x: Tensor) -> Tensor:
        given = self.conv(x)
        return self.bn(given) + given


def test_a_net_that_reads_a_convolution_twice_is_left_as_it_is() -> None:
    net = build("test_resnet")
    net.backbone = Shared()
    net.head = nn.Identity()
    net.outputs = lambda backbone, inputs, **_: _Logits(backbone(inputs))  # type: ignore[method-assign]
    folded = fold_batch_norms(net)
    assert norms(folded) == 1
    torch.testing.assert_close(folded(images()).logits, net.eval()(images()).logits)


class _Logits:
    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
