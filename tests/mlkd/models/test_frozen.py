"""A frozen front gives constant features, and the rest of the backbone continues from them as if nothing was cut."""

import pytest
import torch
from torch import nn

from mlkd.models import frozen
from mlkd.models.config import Model
from mlkd.models.heads import Pooled
from mlkd.models.network import TaggerNet

CHAINS = [
    ("tf_efficientnet_lite0", 64, 3, "blocks.2"),
    ("resnet18", 64, 2, "layer2"),
    ("mobilenetv3_small_050", 48, 4, "blocks.3"),
    ("repvgg_a0", 48, 2, "stages.1"),
    ("convnext_atto", 64, 2, "stages.1"),
    pytest.param("swin_tiny_patch4_window7_224", 64, 2, "layers.1", marks=pytest.mark.slow),
]


def tagger(backbone: str, px: int, groups: int) -> TaggerNet:
    torch.manual_seed(0)
    built = Model(backbone=backbone, image_px=px, head=Pooled()).build(3)
    frozen.freeze(built, groups)
    return built


def images(px: int, count: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (count, px, px, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("backbone", "px", "groups", "boundary"), CHAINS)
def test_the_tail_continues_from_the_features(backbone: str, px: int, groups: int, boundary: str) -> None:
    whole = tagger(backbone, px, groups)
    cut = frozen.cut(whole)
    assert cut is not None
    assert cut.boundary == boundary
    assert whole.training
    whole.eval()
    with torch.no_grad():
        features = cut.features(images(px))
        assert features.dtype == torch.float16
        continued = whole.outputs(cut.tail.eval(), features.float())
        torch.testing.assert_close(continued.logits, whole(images(px)).logits, rtol=0, atol=5e-3)


def test_the_tail_trains_the_parameters_of_the_model_and_no_frozen_one() -> None:
    whole = tagger("resnet18", 64, 2)
    cut = frozen.cut(whole)
    assert cut is not None
    before = {name: value.clone() for name, value in whole.state_dict().items()}
    whole.eval()
    features = cut.features(images(64)).float()
    whole.outputs(cut.tail.train(), features).logits.sum().backward()
    trained = {name for name, parameter in whole.named_parameters() if parameter.grad is not None}
    assert trained == {name for name, parameter in whole.named_parameters() if parameter.requires_grad}
    changed = {name for name, value in whole.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith(("backbone.layer2", "backbone.layer3", "backbone.layer4")) for name in changed)


def test_stage_maps_behind_the_cut_are_those_of_the_whole_model() -> None:
    whole = tagger("tf_efficientnet_lite0", 64, 5).eval()
    cut = frozen.cut(whole)
    assert cut is not None
    with torch.no_grad():
        inputs = whole.normalise(images(64))
        features = frozen._input_of(whole.backbone, cut.boundary, inputs)
        got, expected = whole.outputs(cut.tail, features, features=True), whole(images(64), features=True)
    count = len(whole.stage_shapes(trainable=True))
    assert 0 < count < 4
    assert got.features is not None
    assert expected.features is not None
    for mine, theirs in zip(got.features[-count:], expected.features[-count:], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_nothing_frozen_is_not_cut() -> None:
    assert frozen.cut(tagger("resnet18", 64, 0)) is None


@pytest.mark.parametrize(("backbone", "px"), [("test_vit", 160)])
def test_a_backbone_that_is_no_chain_of_modules_is_not_cut(backbone: str, px: int) -> None:
    assert frozen.cut(tagger(backbone, px, 2)) is None


def test_a_backbone_that_skips_over_the_cut_is_not_cut() -> None:
    class Skipping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
            self.first.requires_grad_(False)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(inputs)) + inputs

    whole = tagger("resnet18", 32, 0)
    whole.backbone = Skipping()
    assert frozen.cut(whole) is None


def test_the_key_follows_the_frozen_weights_only() -> None:
    first, second = frozen.cut(tagger("resnet18", 64, 2)), frozen.cut(tagger("resnet18", 64, 2))
    assert first is not None
    assert second is not None
    with torch.no_grad():
        second.tagger.backbone.layer4[0].conv1.weight.add_(1)
        assert first.key() == second.key()
        second.tagger.backbone.conv1.weight.add_(1)
    assert first.key() != second.key()
